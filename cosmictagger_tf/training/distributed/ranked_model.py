"""The training step of several ranks, on TensorFlow: what Keras cannot know, since Horovod's operations have no XLA."""

import tensorflow as tf
from keras import ops

from cosmictagger_tf.networks.segmentation import Segmenter
from cosmictagger_tf.training.distributed.exchange import GradientExchange
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.event_losses import HeadWeights
from cosmictagger_tf.training.model import SegmentationModel


class RankedModel(SegmentationModel):
    """A SegmentationModel that trains together with those of other ranks; compile it without XLA.

    Args:
        segmenter, scheme, head_weights: see SegmentationModel.
        exchange: averages the gradients; its `install` is given the compiled model's optimizer.
        xla: compile what comes before the exchange.

    Attributes:
        unsound: int32 [], 1 where this rank's own gradients were not finite in the step at which the guard stopped all.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        scheme: str,
        exchange: GradientExchange,
        xla: bool,
        head_weights: HeadWeights | None = None,
    ):
        super().__init__(segmenter, scheme, head_weights)
        self.exchange = exchange
        self.unsound = tf.Variable(0, trainable=False)
        self._gradients_of = tf.function(self._gradients, jit_compile=xla, reduce_retracing=True)

    def train_step(self, batch):
        """One update of the gradients that are averaged over the ranks; as Keras's otherwise."""
        gradients, sound, outputs = self._gradients_of(batch)
        sound = ops.where(self.guard.fault.value > 0, self.unsound < 1, sound)
        self.unsound.assign(1 - ops.cast(sound, "int32"))
        self.exchange.fraction.assign(ops.mean(batch["weights"]))
        self.optimizer.apply(gradients, self.trainable_weights)
        return self.compute_metrics(batch, None, outputs)

    def _gradients(self, batch):
        with tf.GradientTape() as tape:
            outputs = self(batch, training=True)
            loss = self.optimizer.scale_loss(self.compute_loss(batch, y_pred=outputs))
        gradients = tape.gradient(loss, self.trainable_weights)
        return gradients, self.guard.is_sound(gradients), outputs

    def share_state(self, ranks: Ranks):
        """Gives every rank what rank 0 has, but for the metrics, which are summed over the ranks."""
        ranks.broadcast([*self.network.variables, *self.optimizer.variables])
        if ranks.rank:
            self.reset_metrics()

    def share_statistics(self):
        """Gives every rank the mean of the ranks' moving statistics: each moves them by its own part of the batches.

        So what is validated is what is saved, on all ranks, and what a resumed run starts from.
        """
        self.exchange.ranks.average(self.network.non_trainable_weights)

    def collect_metrics(self):
        """Moves what the ranks have measured to rank 0."""
        for metric in self.metrics:
            metric.add_ranks(self.exchange.ranks)

    def is_to_blame(self) -> bool:
        """Whether this rank's gradients were not finite, or each rank's were, but not their average."""
        own = self.unsound.numpy()
        # Every rank asks, whatever it knows of itself.
        (of_all,) = self.exchange.ranks.sum([own])
        return bool(own) or not of_all
