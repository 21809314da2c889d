"""One network and its training step, ready to be timed."""

from abc import ABC, abstractmethod

from keras import ops

from cosmictagger_tf.config import ExecutionConfig, NetworkConfig, OptimizerConfig
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.measuring.clock import Timing, timed
from cosmictagger_tf.measuring.compiled import backend, compiled, wait
from cosmictagger_tf.networks.segmentation import build_segmenter


class Bench(ABC):
    """One network and its training step, ready to be timed.

    Args:
        network, optimizer, settings: as a training takes them.
        shape: of the images.
    """

    def __init__(self, network: NetworkConfig, optimizer: OptimizerConfig, settings: ExecutionConfig, shape):
        self.segmenter = build_segmenter(network, shape, static=settings.xla)

    @abstractmethod
    def prepared(self, batch) -> dict:
        """The Batch as tensors, with its rulebook where there is one."""

    @abstractmethod
    def run_forward(self, batch):
        """The logits float32 [batch, planes, P, classes] of a prepared batch."""

    @abstractmethod
    def run_step(self, batch):
        """Makes one training step on a prepared batch; returns the loss, a tensor."""

    @abstractmethod
    def operations(self, batch) -> int:
        """Floating-point operations of a training step on a prepared batch."""

    def preparing(self, batch, repeats: int) -> Timing:
        """Of the rulebook."""
        return timed(lambda: wait(self.prepared(batch)["pixel_sites"]), repeats)

    def forward(self, batch, repeats: int) -> Timing:
        """Of a forward pass."""
        return timed(lambda: wait(self.run_forward(batch)), repeats)

    def step(self, batch, repeats: int) -> Timing:
        """Of a training step."""
        return timed(lambda: self.train_on(batch), repeats)

    def train_on(self, batch) -> float:
        """Makes one training step; returns the loss."""
        return float(ops.convert_to_numpy(self.run_step(batch)))


class TensorFlowBench(Bench):
    """What `train` runs: SegmentationModel.train_step."""

    def __init__(self, network, optimizer, settings, shape):
        super().__init__(network, optimizer, settings, shape)
        import tensorflow as tf

        from cosmictagger_tf.training.losses import BalancedLoss
        from cosmictagger_tf.training.model import SegmentationModel
        from cosmictagger_tf.training.optimizers import build_optimizer

        self.model = SegmentationModel(self.segmenter)
        self.model.compile(
            optimizer=build_optimizer(optimizer, optimizer.learning_rate, scale_loss=settings.precision == "mixed"),
            loss=BalancedLoss(optimizer.loss_balance_scheme),
            auto_scale_loss=False,
        )
        self.model.optimizer.build(self.model.network.trainable_variables)
        self._tensor = tf.constant
        self._forward = compiled(lambda batch: self.segmenter.pixel_logits(batch, training=False), settings.xla)
        self._step = compiled(self.model.train_step, settings.xla)
        self._prepare = compiled(self.segmenter.prepare) if self.segmenter.prepare else None

    def prepared(self, batch) -> dict:
        """As ahead of a training step."""
        batch = {name: self._tensor(array) for name, array in batch.items()}
        return self._prepare(batch) if self._prepare else batch

    def run_forward(self, batch):
        """In inference mode."""
        return self._forward(batch)

    def run_step(self, batch):
        """Also counts the metrics, as a training does."""
        return self._step(batch)["loss"]

    def operations(self, batch) -> int:
        """Of convolutions and matrix products."""
        from cosmictagger_tf.training.dry_run import step_cost

        return step_cost(self.model, batch)[1]


class JaxBench(Bench):
    """The same network, loss and optimizer as one function compiled by jax.jit; without metrics."""

    def __init__(self, network, optimizer, settings, shape):
        if not settings.xla:
            raise ConfigError("--noxla: JAX compiles with XLA always; leave it out, or use the TensorFlow backend")
        if settings.precision == "mixed":
            raise ConfigError("--precision=mixed: not measured with JAX; use bfloat16, or the TensorFlow backend")
        super().__init__(network, optimizer, settings, shape)
        import jax

        from cosmictagger_tf.training.jax_step import JaxStep
        from cosmictagger_tf.training.optimizers import build_optimizer

        self.update = JaxStep(
            self.segmenter, build_optimizer(optimizer, optimizer.learning_rate), optimizer.loss_balance_scheme
        )
        self.state = self.update.state()
        self._tensor = jax.numpy.asarray
        self._forward = jax.jit(self._logits)
        self._step = jax.jit(self.update, donate_argnums=0)

    def _logits(self, state, batch):
        with self.update.holding(*state[:2]):
            return self.segmenter.pixel_logits(batch, training=False)

    def prepared(self, batch) -> dict:
        """Operation by operation, since how long the lists are follows from the numbers."""
        # JAX takes no 64-bit integers unless told to; the step needs no entries.
        batch = {name: self._tensor(array) for name, array in batch.items() if name != "entries"}
        return self.segmenter.prepare(batch) if self.segmenter.prepare else batch

    def run_forward(self, batch):
        """In inference mode."""
        return self._forward(self.state, batch)

    def run_step(self, batch):
        """The state of before is gone."""
        self.state, loss = self._step(self.state, batch)
        return loss

    def operations(self, batch) -> int:
        """Of convolutions and matrix products."""
        import jax

        from cosmictagger_tf.measuring.jax_operations import count

        return count(jax.make_jaxpr(self.update)(self.state, batch).jaxpr)


BENCHES = {"tensorflow": TensorFlowBench, "jax": JaxBench}


def open_bench(network: NetworkConfig, optimizer: OptimizerConfig, settings: ExecutionConfig, shape) -> Bench:
    """The Bench of the Keras backend in use; arguments as Bench's.

    Raises:
        ConfigError: another backend, or an option that this one does not have.
    """
    if backend() not in BENCHES:
        raise ConfigError(f"KERAS_BACKEND={backend()}: the benchmark runs with {' or '.join(BENCHES)}")
    return BENCHES[backend()](network, optimizer, settings, shape)
