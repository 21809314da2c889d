"""The Keras model that model.fit trains: one step over a batch of pixel lists."""

import keras
import tensorflow as tf
from keras import ops

from cosmictagger_tf.networks.segmentation import DenseSegmenter
from cosmictagger_tf.training.losses import BalancedLoss, mean_over_images, per_image_loss
from cosmictagger_tf.training.metrics import SegmentationMetrics


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SegmentationModel(keras.Model):
    """A segmenter with its training step; `compile` it with an optimizer and a BalancedLoss, then `fit`.

    fit takes a tf.data.Dataset of Batches (see data/batch.py). The pixel lists are scattered to dense tensors inside
    the step, which XLA compiles as a whole where jit_compile is on.

    Args:
        segmenter: see networks/segmentation.py.

    Attributes:
        step: int64 variable, training steps done so far; saved with the checkpoint.
    """

    def __init__(self, segmenter: DenseSegmenter, **kwargs):
        super().__init__(**kwargs)
        self.segmenter = segmenter
        self.network = segmenter.network
        self.step = self.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name="step")
        self.loss_mean = keras.metrics.Mean(name="loss")
        self.segmentation = SegmentationMetrics(segmenter.shape.planes)
        self.built = True

    @property
    def metrics(self):
        """The streaming metrics, reset together."""
        return [self.loss_mean, self.segmentation]

    @property
    def state_variables(self) -> list:
        """What a checkpoint holds beside the network's weights: step, optimizer and metrics, in a fixed order."""
        metrics = [variable for metric in self.metrics for variable in metric.variables]
        return [self.step, *self.optimizer.variables, *metrics]

    def call(self, batch, training=False):
        """Logits float32 [batch, planes, height, width, classes]."""
        return self.segmenter.logits(batch, training=training)

    def loss_and_segmentation(self, batch, training):
        """The batch's loss, without penalties, and its Segmentation."""
        found = self.segmenter(batch, training=training)
        losses = per_image_loss(found.labels, found.logits, self.balanced_loss.scheme, found.multiplicity)
        return mean_over_images(losses, batch["weights"]), found

    @property
    def balanced_loss(self) -> BalancedLoss:
        """The loss given to compile."""
        return self.loss

    def train_step(self, batch):
        """One update; returns the metrics as they stand."""
        with tf.GradientTape() as tape:
            loss, found = self.loss_and_segmentation(batch, training=True)
            penalties = [ops.cast(penalty, "float32") for penalty in self.network.losses]
            scaled = self.optimizer.scale_loss(sum(penalties, loss))
        variables = self.network.trainable_weights
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        self.step.assign_add(1)
        self._update_metrics(loss, found, batch)
        return self.get_metrics_result()

    def test_step(self, batch):
        """The metrics after one batch, in inference mode."""
        loss, found = self.loss_and_segmentation(batch, training=False)
        self._update_metrics(loss, found, batch)
        return self.get_metrics_result()

    def _update_metrics(self, loss, found, batch):
        self.loss_mean.update_state(loss, sample_weight=ops.sum(batch["weights"]))
        self.segmentation.update_state(found.labels, found.logits, batch["weights"], found.multiplicity)
