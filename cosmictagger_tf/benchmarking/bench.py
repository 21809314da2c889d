"""One network and its training step, ready to be timed."""

from abc import ABC, abstractmethod

import keras
from keras import ops

from cosmictagger_tf.benchmarking.clock import Timing, timed
from cosmictagger_tf.benchmarking.compiled import wait
from cosmictagger_tf.config import ExecutionConfig, NetworkConfig, OptimizerConfig
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.segmentation import build_segmenter


class Bench(ABC):
    """One network and its training step, ready to be timed.

    Args:
        network, optimizer, settings: as a training takes them.
        shape: of the images.
    """

    def __init__(self, network: NetworkConfig, optimizer: OptimizerConfig, settings: ExecutionConfig, shape):
        self.segmenter = build_segmenter(network, shape, static=settings.uses_xla)

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


def open_bench(network: NetworkConfig, optimizer: OptimizerConfig, settings: ExecutionConfig, shape) -> Bench:
    """The Bench of the Keras backend in use; arguments as Bench's.

    Raises:
        ConfigError: another backend, or an option that this one does not have.
    """
    # Each of the two imports its backend, and the other one may not be installed.
    if keras.backend.backend() == "tensorflow":
        from cosmictagger_tf.benchmarking.tensorflow_bench import TensorFlowBench

        return TensorFlowBench(network, optimizer, settings, shape)
    if keras.backend.backend() == "jax":
        from cosmictagger_tf.benchmarking.jax_bench import JaxBench

        return JaxBench(network, optimizer, settings, shape)
    raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()}: the benchmark runs with tensorflow or jax")
