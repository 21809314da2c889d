"""The average of the gradients over the ranks, inside a training step.

Horovod's operations have no XLA kernels on CPUs: what they connect is compiled in parts, the gradients, then, after the
exchange, the update.
"""

import keras
import numpy as np
import tensorflow as tf

from cosmictagger_tf.config import DistributedConfig
from cosmictagger_tf.training.distributed.horovod_ranks import HorovodRanks
from cosmictagger_tf.training.distributed.ranks import Ranks


class GradientExchange:
    """Averages the gradients of a step over the ranks; what else must be agreed on every step travels with them.

    Args:
        ranks: more than one.
        config: how.

    Attributes:
        requests: float32 [4], this rank's: 1 where it wants to stop with SIGTERM's status, with SIGINT's, or because
            ranks came or went, or where it has read bad events. Set between steps.
        shared_sums: the ranks' mean of the requests, summed over the steps.
        seconds: float64, time spent in the exchange, waiting for the slowest rank included.
        fraction: float32, the part of this rank's events that are no fillers, by which its gradients count.
        shared: float32 variables [] that `apply` gives their mean over the ranks, beside the gradients.
    """

    REQUESTS = ("SIGTERM", "SIGINT", "ranks", "bad events")

    def __init__(self, ranks: Ranks, config: DistributedConfig):
        assert isinstance(ranks, HorovodRanks), "one rank alone has nothing to exchange"
        self.ranks, self.config, self.hvd = ranks, config, ranks.hvd
        self.requests = tf.Variable(tf.zeros(len(self.REQUESTS)), trainable=False)
        self.shared_sums = tf.Variable(tf.zeros(len(self.REQUESTS)), trainable=False)
        self.seconds = tf.Variable(0.0, dtype="float64", trainable=False)
        self.fraction = tf.Variable(1.0, trainable=False)
        self.shared: list = []

    def install(self, optimizer: keras.optimizers.Optimizer, xla: bool = False):
        """From now on `optimizer.apply` makes its update of the averages over the ranks.

        Args:
            optimizer: of a model that trains without XLA, whose operations Horovod's cannot be part of.
            xla: compile the update.
        """
        apply = optimizer.apply

        def apply_averages(gradients, variables=None):
            def update(averages):
                apply(averages, variables)

            (tf.function(update, jit_compile=True) if xla else update)(self(list(gradients)))

        optimizer.apply = apply_averages

    def __call__(self, gradients: list) -> list:
        """The averages of the gradients of the ranks' mean losses (float tensors or None), on every rank."""
        # Where TensorFlow inlines the function that they come from, what waits for its outputs alone would wait for its
        # side effects only, which come before the backward pass; so the clock waits for copies.
        present = [tf.identity(g) for g in gradients if g is not None]
        with tf.control_dependencies(present):
            began = tf.timestamp()
        with tf.control_dependencies([began]):
            flags = [self.fraction, *(variable.value for variable in self.shared)]
            shared = tf.concat([tf.stack(flags), self.requests], axis=0)
            shared = self.hvd.allreduce(shared, op=self.hvd.Average, name="shared")
            weighted = [g * tf.cast(self.fraction, g.dtype) for g in present]
            averaged = self._average(weighted)
        with tf.control_dependencies(averaged):
            # Of the wall clock, which may be set back meanwhile.
            self.seconds.assign_add(tf.maximum(tf.timestamp() - began, 0.0))
        self.shared_sums.assign_add(shared[len(flags) :])
        for variable, mean in zip(self.shared, tf.unstack(shared[1 : len(flags)]), strict=True):
            variable.assign(mean)
        averaged = iter([tf.math.divide_no_nan(g, tf.cast(shared[0], g.dtype)) for g in averaged])
        return [None if g is None else next(averaged) for g in gradients]

    def seconds_spent(self) -> float:
        """What `seconds` is now."""
        return float(self.seconds.numpy())

    def request(self, what: str):
        """Makes one of REQUESTS, from this rank; the next step sends it to the others."""
        self._set_request(what, 1.0)

    def _set_request(self, what, value):
        requests = self.requests.numpy()
        requests[self.REQUESTS.index(what)] = value
        self.requests.assign(requests)

    def take(self, what: str) -> bool:
        """Whether some rank has made one of REQUESTS since this was last called; takes it back.

        All ranks must call it after the same steps.
        """
        place = self.REQUESTS.index(what)
        sums = self.shared_sums.numpy()
        requested, sums[place] = bool(sums[place] > 0), 0.0
        if requested:
            self.shared_sums.assign(sums)
            self._set_request(what, 0.0)
        return requested

    def shared_requests(self) -> list[str]:
        """Those of REQUESTS that some rank has made: the same on all ranks after the same step."""
        return [name for name, amount in zip(self.REQUESTS, self.shared_sums.numpy(), strict=True) if amount > 0]

    def _average(self, gradients):
        if self.config.gradient_compression == "bfloat16":
            return self._average_bfloat16(gradients)
        hvd = self.hvd
        compression = getattr(hvd.Compression, {"none": "none", "float16": "fp16"}[self.config.gradient_compression])
        groups = np.array_split(np.arange(len(gradients)), min(self.config.num_groups, len(gradients)))
        averaged = []
        for number, group in enumerate(groups):
            members = [gradients[i] for i in group]
            name = f"gradients{number}"
            averaged += hvd.grouped_allreduce(members, op=hvd.Average, compression=compression, name=name)
        return averaged

    def _average_bfloat16(self, gradients):
        # Horovod's operations do not take bfloat16. Each rank adds up a part of the gradients, in float32, from bits
        # that travel as uint8; the bytes that move are those of a ring allreduce.
        ranks, hvd = self.ranks.size, self.hvd
        flat = tf.concat([tf.reshape(tf.cast(g, tf.float32), (-1,)) for g in gradients], axis=0)
        length = flat.shape[0]
        part = -(-length // ranks)
        flat = tf.pad(flat, [[0, ranks * part - length]])
        mine = tf.reshape(hvd.alltoall(_bits(flat), name="gradients_parts"), (ranks, part, 2))
        mean = tf.reduce_mean(_values(mine), axis=0)
        whole = _values(hvd.allgather(_bits(mean), name="gradients_means"))[:length]
        pieces = tf.split(whole, [g.shape.num_elements() for g in gradients])
        return [tf.cast(tf.reshape(p, g.shape), g.dtype) for p, g in zip(pieces, gradients, strict=True)]


def _bits(values):
    return tf.bitcast(tf.cast(values, tf.bfloat16), tf.uint8)


def _values(bits):
    return tf.cast(tf.bitcast(bits, tf.bfloat16), tf.float32)
