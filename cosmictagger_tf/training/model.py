"""The Keras model that model.fit trains: one step over a batch of pixel lists."""

import keras
import tensorflow as tf
from keras import ops

from cosmictagger_tf.networks.segmentation import Segmenter
from cosmictagger_tf.training.exchange import GradientExchange
from cosmictagger_tf.training.losses import BalancedLoss, segmentation_loss
from cosmictagger_tf.training.metrics import SegmentationMetrics
from cosmictagger_tf.training.optimizers import averaged_weights, inner_optimizer
from cosmictagger_tf.training.ranks import Ranks

# What SegmentationModel.fault says.
FINE, ELSEWHERE, LOSS, GRADIENT = 0, 1, 2, 3
# Float16 gradients that are not finite are the loss scale's fault, which then halves, unless it is below this already.
LOWEST_SCALE = 2.0**-10


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SegmentationModel(keras.Model):
    """A segmenter with its training step; `compile` it with an optimizer and a BalancedLoss, then `fit`.

    fit takes a tf.data.Dataset of Batches (see data/batch.py). The pixel lists are scattered to dense tensors inside
    the step, which XLA compiles as a whole where jit_compile is on.

    Args:
        segmenter: see networks/segmentation.py.

    Attributes:
        step: int64 variable, training steps done so far; saved with the checkpoint.
        fault: int64 variable. FINE, or why the step after `step` made no update: the LOSS or a GRADIENT of this rank is
            not finite, or something of another rank (ELSEWHERE). From then on no step does anything.
    """

    def __init__(self, segmenter: Segmenter, **kwargs):
        super().__init__(**kwargs)
        self.segmenter = segmenter
        self.network, self.shape = segmenter.network, segmenter.shape
        self.step = self.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name="step")
        self.fault = self.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name="fault")
        self.loss_mean = keras.metrics.Mean(name="loss")
        self.segmentation = SegmentationMetrics(segmenter.shape.planes)
        self.exchange: GradientExchange | None = None
        self.built = True

    def distribute(self, exchange: GradientExchange, xla: bool):
        """From now on trains together with other ranks; compile the model without XLA.

        Args:
            exchange: averages the gradients.
            xla: compile what comes before and after the exchange.
        """
        self.exchange = exchange
        self._gradients_of = tf.function(self._gradients, jit_compile=xla, reduce_retracing=True)
        self._update_with = tf.function(self._update, jit_compile=xla)

    @property
    def metrics(self):
        """The streaming metrics, reset together."""
        return [self.loss_mean, self.segmentation]

    @property
    def state_variables(self) -> list:
        """What a checkpoint holds beside the weights to be used: step, optimizer and metrics, in a fixed order.

        Where the weights to be used are a moving average, the weights themselves belong to it.
        """
        metrics = [variable for metric in self.metrics for variable in metric.variables]
        weights = self.network.trainable_variables if inner_optimizer(self.optimizer).use_ema else []
        return [self.step, *self.optimizer.variables, *metrics, *weights]

    def averaged_weights(self):
        """A context in which the network holds the weights to be used: their moving average, where there is one."""
        return averaged_weights(self.optimizer, self.network.trainable_variables)

    def call(self, batch, training=False):
        """Logits float32 [batch, planes, height, width, classes]."""
        return self.segmenter.logits(batch, training=training)

    def loss_and_segmentation(self, batch, training):
        """The batch's loss, without penalties, and its Segmentation."""
        found = self.segmenter(batch, training=training)
        return segmentation_loss(found, batch["weights"], self.balanced_loss.scheme), found

    @property
    def balanced_loss(self) -> BalancedLoss:
        """The loss given to compile."""
        return self.loss

    def train_step(self, batch):
        """One update, unless a number is not finite; returns the metrics as they stand."""
        if self.exchange is None:
            self._update(*self._gradients(batch))
        else:
            gradients, fault = self._gradients_of(batch)
            gradients, faults = self.exchange(gradients, ops.mean(batch["weights"]), ops.cast(fault > FINE, "float32"))
            elsewhere = ops.where(faults > 0, ELSEWHERE, self._fault_of(gradients))
            self._update_with(gradients, ops.where(fault > FINE, fault, elsewhere))
        return self.get_metrics_result()

    def _gradients(self, batch):
        with tf.GradientTape() as tape:
            loss, found = self.loss_and_segmentation(batch, training=True)
            penalties = [ops.cast(penalty, "float32") for penalty in self.network.losses]
            total = sum(penalties, loss)
            scaled = self.optimizer.scale_loss(total)
        self._update_metrics(loss, found, batch)
        gradients = tape.gradient(scaled, self.network.trainable_weights)
        return gradients, ops.where(ops.isfinite(total), self._fault_of(gradients), LOSS)

    def _fault_of(self, gradients):
        # One operation a gradient; above 1e19, where its square is beyond float32, it is called not finite as well.
        finite = tf.math.is_finite(tf.linalg.global_norm(gradients))
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            finite |= self.optimizer.dynamic_scale.value > LOWEST_SCALE
        return ops.cast(ops.where(finite, FINE, GRADIENT), "int64")

    def _update(self, gradients, fault):
        # The first fault stays, so that the later steps of a stretch do nothing either.
        self.fault.assign(ops.where(self.fault.value > FINE, self.fault.value, fault))

        def update():
            self.optimizer.apply(gradients, self.network.trainable_weights)
            self.step.assign_add(1)

        tf.cond(self.fault.value > FINE, lambda: None, update)

    def test_step(self, batch):
        """The metrics after one batch, in inference mode."""
        loss, found = self.loss_and_segmentation(batch, training=False)
        self._update_metrics(loss, found, batch)
        return self.get_metrics_result()

    def share_state(self, ranks: Ranks):
        """Gives every rank what rank 0 has, but for the metrics, which are summed over the ranks."""
        ranks.broadcast([*self.network.variables, *self.state_variables])
        if ranks.rank:
            self.reset_metrics()

    def share_statistics(self):
        """Gives every rank the mean of the ranks' moving statistics: each moves them by its own part of the batches.

        So what is validated is what is saved, on all ranks, and what a resumed run goes on with.
        """
        if self.exchange:
            self.exchange.ranks.average(self.network.non_trainable_weights)

    def collect_metrics(self) -> dict[str, float]:
        """Moves what the ranks have measured to rank 0; returns the metrics, which are right there."""
        if self.exchange:
            ranks = self.exchange.ranks
            variables = [variable for metric in self.metrics for variable in metric.variables]
            for variable, total in zip(variables, ranks.sum([v.numpy() for v in variables]), strict=True):
                variable.assign(total if ranks.rank == 0 else ops.zeros_like(total))
        return {name: float(value) for name, value in self.get_metrics_result().items()}

    def _update_metrics(self, loss, found, batch):
        self.loss_mean.update_state(loss, sample_weight=ops.sum(batch["weights"]))
        self.segmentation.update_state(found.labels, found.logits, batch["weights"], found.multiplicity)
