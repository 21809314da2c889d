"""One network and its training step, ready to be timed."""

import tensorflow as tf

from cosmictagger_tf.config import ExecutionConfig, NetworkConfig, OptimizerConfig
from cosmictagger_tf.measuring.clock import Timing, timed
from cosmictagger_tf.networks.segmentation import build_segmenter
from cosmictagger_tf.training.losses import BalancedLoss
from cosmictagger_tf.training.model import SegmentationModel
from cosmictagger_tf.training.optimizers import build_optimizer


class Bench:
    """One network and its training step, ready to be timed.

    Args:
        network, optimizer, settings: as a training takes them.
        shape: of the images.
    """

    def __init__(self, network: NetworkConfig, optimizer: OptimizerConfig, settings: ExecutionConfig, shape):
        self.segmenter = build_segmenter(network, shape, static=settings.xla)
        self.model = SegmentationModel(self.segmenter)
        self.model.compile(
            optimizer=build_optimizer(optimizer, optimizer.learning_rate, scale_loss=settings.precision == "mixed"),
            loss=BalancedLoss(optimizer.loss_balance_scheme),
            auto_scale_loss=False,
        )
        self.model.optimizer.build(self.model.network.trainable_variables)
        compiled = {"reduce_retracing": True, "jit_compile": settings.xla}
        self._forward = tf.function(lambda batch: self.segmenter.pixel_logits(batch, training=False), **compiled)
        self._step = tf.function(self.model.train_step, **compiled)
        self._prepare = tf.function(self.segmenter.prepare, reduce_retracing=True) if self.segmenter.prepare else None

    def prepared(self, batch) -> dict:
        """The Batch as tensors, with its rulebook where there is one."""
        batch = {name: tf.constant(array) for name, array in batch.items()}
        return self._prepare(batch) if self._prepare else batch

    def preparing(self, batch, repeats: int) -> Timing:
        """Of the rulebook."""
        return timed(lambda: self.prepared(batch)["entries"].numpy(), repeats)

    def forward(self, batch, repeats: int) -> Timing:
        """Of a forward pass."""
        return timed(lambda: self._forward(batch).numpy(), repeats)

    def step(self, batch, repeats: int) -> Timing:
        """Of a training step."""
        return timed(lambda: self.train_on(batch), repeats)

    def train_on(self, batch) -> float:
        """Makes one training step; returns the loss."""
        return float(self._step(batch)["loss"].numpy())
