"""One network and its training step, ready to be timed."""

from abc import ABC, abstractmethod

from keras import ops

from cosmictagger_tf.benchmarking.clock import Timing, timed
from cosmictagger_tf.benchmarking.compiled import wait
from cosmictagger_tf.config import ExecutionConfig, NetworkConfig, OptimizerConfig
from cosmictagger_tf.networks.build import build_segmenter


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
