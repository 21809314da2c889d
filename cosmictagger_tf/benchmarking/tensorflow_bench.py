"""A network and its training step, compiled by TensorFlow."""

import tensorflow as tf

from cosmictagger_tf.benchmarking.bench import Bench
from cosmictagger_tf.benchmarking.compiled import compiled
from cosmictagger_tf.training.dry_run import step_cost
from cosmictagger_tf.training.losses import BalancedLoss
from cosmictagger_tf.training.model import SegmentationModel
from cosmictagger_tf.training.optimizers import build_optimizer


class TensorFlowBench(Bench):
    """What `train` runs: SegmentationModel.train_step."""

    def __init__(self, network, optimizer, settings, shape):
        super().__init__(network, optimizer, settings, shape)
        self.model = SegmentationModel(self.segmenter)
        self.model.compile(
            optimizer=build_optimizer(optimizer, optimizer.learning_rate, scale_loss=settings.precision == "mixed"),
            loss=BalancedLoss(optimizer.loss_balance_scheme),
            auto_scale_loss=False,
        )
        self.model.optimizer.build(self.model.network.trainable_variables)
        self._forward = compiled(lambda batch: self.segmenter.pixel_logits(batch, training=False), settings.uses_xla)
        self._step = compiled(self.model.train_step, settings.uses_xla)

    def prepared(self, batch) -> dict:
        """As ahead of a training step."""
        batch = self.segmenter.prepare(batch) if self.segmenter.prepare else batch
        return {name: tf.constant(array) for name, array in batch.items()}

    def run_forward(self, batch):
        """In inference mode."""
        return self._forward(batch)

    def run_step(self, batch):
        """Also counts the metrics, as a training does."""
        return self._step(batch)["loss"]

    def operations(self, batch) -> int:
        """Of convolutions and matrix products."""
        return step_cost(self.model, batch)[1]
