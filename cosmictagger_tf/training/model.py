"""The Keras model that fit trains, on every backend: pixel lists in, losses and confusion counts of images out."""

from typing import Any

import keras
import numpy as np
from keras import ops

from cosmictagger_tf.data.pipeline import BatchStream
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.segmentation import Segmenter, heads_of
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.event_losses import HeadWeights
from cosmictagger_tf.training.event_metrics import EventMetrics, head_measures
from cosmictagger_tf.training.exact_sums import LARGEST_COUNT
from cosmictagger_tf.training.guard import GuardedOptimizer
from cosmictagger_tf.training.losses import mean_over_images
from cosmictagger_tf.training.metrics import SegmentationMetrics, measures
from cosmictagger_tf.training.optimizers import averaged_weights, inner_optimizer


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SegmentationModel(keras.Model):
    """A segmenter with its loss and metrics; `compile` it with a GuardedOptimizer and no loss, then `fit`.

    fit takes Batches (see data/batch.py), with truth where the network has heads. The pixel lists are scattered to
    dense tensors inside the step, which is compiled as a whole where jit_compile is on. The logs of a step are its loss
    alone; the metrics since the last reset_metrics are those of `segmentation`, and of `events` where there are heads.

    Args:
        segmenter: see networks/segmentation.py.
        scheme: the loss's balance scheme, see losses.per_image_loss.
        head_weights: those of the losses of the network's heads, where it has some.

    Raises:
        ConfigError: an image has more pixels than are counted.
    """

    def __init__(self, segmenter: Segmenter, scheme: str, head_weights: HeadWeights | None = None, **kwargs):
        # float32: the layers of a network in half precision cast for themselves, and a Batch holds what they must not.
        super().__init__(dtype="float32", **kwargs)
        if segmenter.shape.pixels >= LARGEST_COUNT:
            raise ConfigError(f"images of {segmenter.shape}: {LARGEST_COUNT:,} pixels or more: use --downsample")
        self.segmenter, self.scheme = segmenter, scheme
        self.network, self.shape = segmenter.network, segmenter.shape
        self.segmentation = SegmentationMetrics(segmenter.shape.planes)
        self.events = EventMetrics(segmenter.shape.planes) if heads_of(self.network.output) else None
        self.head_weights = head_weights or HeadWeights()
        self.built = True

    @property
    def metrics(self):
        """What is reset together; without Keras's own mean of the loss, which counts fillers and penalties."""
        return [metric for metric in (self.segmentation, self.events) if metric]

    def call(self, batch, training=False):
        """Of each image the loss and the confusion counts, see measures; under "heads" those of head_measures."""
        segmentation = self.segmenter(batch, training=training)
        values = measures(segmentation, self.scheme, training)
        if self.events:
            values["heads"] = head_measures(segmentation.heads, batch, self.shape, self.segmenter.head_design)
        return values

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of a Batch with the network's penalties, float32 []; its gradient is not finite where it is not."""
        losses = y_pred["losses"]
        if self.events:
            losses = losses + self.head_weights.of(y_pred["heads"])
        loss = mean_over_images(losses, x["weights"])
        total = sum((ops.cast(penalty, "float32") for penalty in self.losses), loss)
        # Gradients of a loss that is not finite may be: the optimizer, which does not see it, must.
        return total * ops.stop_gradient(ops.where(ops.isfinite(total), 1.0, float("nan")))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Adds a Batch to the metrics; returns its loss of the pixels, without penalties, or NaN where a head has none.

        On JAX a loss that is not finite is known by what is returned here alone.
        """
        self.segmentation.update_from_counts(y_pred["counts"], x["weights"], y_pred["losses"])
        loss = mean_over_images(y_pred["losses"], x["weights"])
        if self.events:
            self.events.update_state(y_pred["heads"], x["weights"])
            of_heads = mean_over_images(self.head_weights.of(y_pred["heads"]), x["weights"])
            loss = ops.where(ops.isfinite(of_heads), loss, float("nan"))
        return {"loss": loss}

    @property
    def guard(self) -> GuardedOptimizer:
        """The optimizer given to compile."""
        return self.optimizer

    @property
    def state(self) -> dict:
        """The variables that a checkpoint holds beside the weights to be used, by name.

        Where the weights to be used are a moving average, the weights themselves belong to it.
        """
        scaling, inner = self.guard.inner_optimizer, inner_optimizer(self.optimizer)
        updating = {id(variable) for variable in inner.variables}
        named = {f"loss_scale/{within(v.path)}": v for v in scaling.variables if id(v) not in updating}
        named |= {f"optimizer/{within(v.path)}": v for v in inner.variables}
        named |= {f"metrics/{within(v.path)}": v for metric in self.metrics for v in metric.variables}
        if inner_optimizer(self.optimizer).use_ema:
            named |= {f"weights/{v.path}": v for v in self.network.trainable_variables}
        return named

    def get_metrics_result(self):
        """The metrics on the host, exact on every backend."""
        return self.segmentation.result(np) | (self.events.result() if self.events else {})

    def averaged_weights(self):
        """A context in which the network holds the weights to be used: their moving average, where there is one."""
        return averaged_weights(self.optimizer, self.network.trainable_variables)

    # What ranked_model.py does; one rank alone has nothing to share.
    exchange: Any = None

    def is_to_blame(self) -> bool:
        """Where the guard stopped: whether it was for gradients of this rank, or of no rank by itself."""
        return True

    def share_state(self, ranks: Ranks):
        """Gives every rank what rank 0 has."""

    def share_statistics(self):
        """Gives every rank the mean of the ranks' moving statistics."""

    def collect_metrics(self):
        """Moves what the ranks have measured to rank 0."""

    def sync(self):
        """Gives the variables the values of the last step: on JAX fit keeps them elsewhere until it is asked."""
        if keras.backend.backend() == "jax":
            self.jax_state_sync()


def within(path: str) -> str:
    """A variable's path without its owner's name, which Keras numbers by what was made before it."""
    return path.split("/", 1)[-1]


def batches_for_fit(stream: BatchStream):
    """The Batches as Keras's fit takes them on this backend: a tf.data.Dataset, or tuples of one Batch.

    There without their entries, which are int64, where the backend may not have that; no step needs them.
    """
    if keras.backend.backend() == "tensorflow":
        return stream.batches
    return (({name: array for name, array in batch.items() if name != "entries"},) for batch in stream.generate())
