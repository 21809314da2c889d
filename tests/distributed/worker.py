"""Run by every rank of a two-rank job (test_ranks.py): what the ranks exchange, checked from inside.

Each check raises AssertionError on the rank that sees it fail; the job then fails.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cosmictagger_tf.config import DataConfig, DistributedConfig, NetworkConfig, RanksConfig
from cosmictagger_tf.data.dataset import SyntheticReader
from cosmictagger_tf.data.pipeline import evaluation_dataset, training_dataset
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import DataError, StoppedElsewhere
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.networks.normalization import synchronise_statistics
from cosmictagger_tf.training.distributed.exchange import GradientExchange
from cosmictagger_tf.training.distributed.horovod_callback import HorovodCallback, StopTogether
from cosmictagger_tf.training.distributed.jobs import connect
from cosmictagger_tf.training.distributed.ranked_model import RankedModel
from cosmictagger_tf.training.guard import GuardedOptimizer
from cosmictagger_tf.training.model import SegmentationModel

READER = SyntheticReader(entries=12, shape=ImageShape(planes=3, height=32, width=64))
DATA = DataConfig(synthetic=True, downsample=0, minibatch_size=4)


def check_collectives(ranks):
    """Exact sums, equal things, equal variables, and one reason for all."""
    big = np.array([2**53, 1], np.int64)
    np.testing.assert_array_equal(ranks.sum([big + ranks.rank])[0], 2 * big + 1)
    np.testing.assert_array_equal(ranks.sum([np.array(0.1)])[0], np.float64(0.1) + np.float64(0.1))
    assert ranks.gather(("rank", ranks.rank)) == [("rank", 0), ("rank", 1)]
    own = 1 + ranks.rank
    variables = [keras.Variable(np.full(3, own, "float32")), keras.Variable(np.array(own, "int64"))]
    ranks.broadcast(variables)
    for variable in variables:
        np.testing.assert_array_equal(variable.numpy(), np.ones(variable.shape))
    try:
        with ranks.agreed():
            if ranks.rank == 1:
                raise DataError("file.h5", "is bad")
    except StoppedElsewhere:
        assert ranks.rank == 0
    except DataError:
        assert ranks.rank == 1
    else:
        raise AssertionError("nobody stopped")


def check_exchange(ranks):
    """The mean of gradients: in any number of groups exactly; compressed nearly; fillers do not count."""
    rng = np.random.default_rng(7)
    both = [[rng.normal(size=shape).astype(np.float32) for shape in ((5, 3), (7,), (1,))] for _ in range(2)]
    mean = [(a + b) / 2 for a, b in zip(*both, strict=True)]
    mine = [tf.constant(g) for g in both[ranks.rank]]
    tolerances = {"none": 1e-7, "float16": 2e-3, "bfloat16": 1e-2}
    seconds = 0.0
    for compression, tolerance in tolerances.items():
        for groups in (1, 2, 9):
            exchange = GradientExchange(ranks, DistributedConfig(num_groups=groups, gradient_compression=compression))
            averages = tf.function(lambda gradients, e=exchange: e(gradients))([*mine, None])
            assert averages[-1] is None and exchange.shared_requests() == []
            seconds += exchange.seconds_spent()
            for a, b in zip(averages, mean, strict=False):
                assert a.dtype == tf.float32
                np.testing.assert_allclose(a, b, atol=tolerance)
            assert (
                ranks.gather(np.concatenate([np.ravel(f) for f in averages[:-1]]).tobytes())[0]
                == ranks.gather(np.concatenate([np.ravel(f) for f in averages[:-1]]).tobytes())[1]
            ), "the ranks would drift apart"
    assert seconds > 0
    exchange = GradientExchange(ranks, DistributedConfig())
    if ranks.rank == 1:
        exchange.request("SIGTERM")
    exchange.fraction.assign(1.0 if ranks.rank == 0 else 0.5)
    exchange.shared = [keras.Variable(float(ranks.rank))]
    averages = exchange(mine)
    for a, one, other in zip(averages, *both, strict=True):
        np.testing.assert_allclose(a, (one + 0.5 * other) / 1.5, rtol=1e-5, atol=1e-6)
    assert exchange.shared_requests() == ["SIGTERM"] and float(exchange.shared[0]) == 0.5
    # What is not finite on one rank is so on all.
    broken = exchange([tf.fill(g.shape, np.nan if ranks.rank else 1.0) for g in mine])
    assert not any(np.isfinite(average).any() for average in broken)


def check_entries(ranks):
    """The ranks read different entries, together all of them."""
    mine = [batch["entries"] for batch in training_dataset(READER, DATA, 1, 0, 3, ranks.rank, ranks.size).batches]
    assert all(len(entries) == 2 for entries in mine)
    everything = ranks.gather(np.concatenate(mine).tolist())
    assert sorted(everything[0] + everything[1]) == list(range(12))
    mine = [batch["entries"] for batch in evaluation_dataset(READER, DATA, ranks.rank, ranks.size).batches]
    everything = ranks.gather(np.concatenate(mine).tolist())
    assert sorted(everything[0] + everything[1]) == list(range(12))


def small_segmenter(normalization):
    keras.utils.set_random_seed(5)
    config = NetworkConfig(
        n_initial_filters=2,
        network_depth=1,
        blocks_per_layer=0,
        blocks_deepest_layer=0,
        blocks_final=1,
        bottleneck_deepest=4,
        normalization=normalization,
    )
    return build_segmenter(config, READER.shape)


def trained(model, batches):
    model.fit(batches, epochs=1, shuffle=False, verbose=0)
    return np.concatenate([np.ravel(v.numpy()) for v in model.network.variables])


def check_synchronised(ranks):
    """Two ranks with half a batch each make the update of one with the whole: normalisation synchronised."""
    results = {}
    for name in ("alone", "together", "apart"):
        model, place, xla = SegmentationModel(small_segmenter("batch"), "light"), (0, 1), name == "apart"
        exchange = GradientExchange(ranks, DistributedConfig())
        if name != "alone":
            model, place = RankedModel(model.segmenter, "light", exchange, xla), (ranks.rank, ranks.size)
        model.compile(GuardedOptimizer(keras.optimizers.SGD(0.01, momentum=0.9)), jit_compile=False)
        model.optimizer.build(model.network.trainable_variables)
        if name != "alone":
            exchange.install(model.optimizer, xla)
        if name == "together":
            synchronise_statistics(model.network, ranks.mean, ranks.size)
        results[name] = trained(model, training_dataset(READER, DATA, 1, 0, 3, *place).batches)
    difference = np.abs(results["together"] - results["alone"])
    scale = np.maximum(1.0, np.abs(results["alone"]))
    assert (difference / scale).max() < 1e-6, (difference.max(), np.argmax(difference / scale))
    assert np.abs(results["apart"] - results["alone"]).max() > 1e-5, "this test could not fail"


def check_blame(ranks):
    """Who reports gradients that are not finite: the ranks that have them; all, where only the average is not."""
    exchange = GradientExchange(ranks, DistributedConfig())
    model = RankedModel(small_segmenter("none"), "light", exchange, xla=False)
    for unsound, to_blame in (((0, 1), (False, True)), ((1, 1), (True, True)), ((0, 0), (True, True))):
        model.unsound.assign(unsound[ranks.rank])
        assert model.is_to_blame() == to_blame[ranks.rank], unsound


def check_callback(ranks):
    """A model.fit of one's own: weights and metrics of one process with all the data; ranks that stop together."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(16, 4)).astype(np.float32)
    y = (x.sum(axis=1, keepdims=True) > 0).astype(np.float32)

    def fit(data, batch, callbacks):
        keras.utils.set_random_seed(1 + ranks.rank)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)])
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss, metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)])
        history = model.fit(
            *data, batch_size=batch, epochs=3, shuffle=False, verbose=0, validation_data=data, callbacks=callbacks
        )
        return model, history.history

    mine = slice(ranks.rank, None, 2)
    model, history = fit((x[mine], y[mine]), 4, [HorovodCallback(ranks)])
    histories = ranks.gather(history)
    assert histories[0] == histories[1]
    if ranks.rank == 0:
        # The same events a step: 0, 2, 4, 6 and 1, 3, 5, 7 are the first eight.
        alone, expected = fit((x, y), 8, [])
        for a, b in zip(model.weights, alone.weights, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)
        for name, values in expected.items():
            np.testing.assert_allclose(history[name], values, rtol=1e-4, err_msg=name)

    class StopOnRankOne(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = ranks.rank == 1 and batch == 0

    model, _ = fit((x[mine], y[mine]), 4, [HorovodCallback(ranks), StopOnRankOne(), StopTogether(ranks)])
    assert int(model.optimizer.iterations) == 1

    config = DistributedConfig(lr_scaling="linear", lr_scaling_epochs=1.0)
    model, _ = fit((x[mine], y[mine]), 4, [HorovodCallback(ranks, config)])
    np.testing.assert_allclose(float(model.optimizer.learning_rate), 0.02, rtol=1e-6)


if __name__ == "__main__":
    one = connect(RanksConfig("true"))
    assert one.size == 2
    checks = (check_collectives, check_exchange, check_entries, check_synchronised, check_blame, check_callback)
    for check in checks:
        check(one)
        one.gather(None)
        Path(sys.argv[1], f"{check.__name__}.{one.rank}").touch()
    one.leave()
