"""The training step as JAX takes it: a pure function of weights and batch, which jax.jit compiles as a whole.

For machines with a GPU whose TensorFlow does not see it, or where only JAX is installed (`KERAS_BACKEND=jax`).
"""

import jax
import keras

from cosmictagger_tf.networks.segmentation import Segmenter
from cosmictagger_tf.training.losses import segmentation_loss


class JaxStep:
    """One update of a segmenter's network by an optimizer.

    Args:
        segmenter: see networks/segmentation.py.
        optimizer: Keras's.
        scheme: of the loss; see losses.per_image_loss.
    """

    def __init__(self, segmenter: Segmenter, optimizer: keras.optimizers.Optimizer, scheme: str):
        self.segmenter, self.optimizer, self.scheme = segmenter, optimizer, scheme
        optimizer.build(segmenter.network.trainable_variables)

    def state(self) -> tuple:
        """The values of the trained weights, of the network's other variables, and of the optimizer's."""
        network = self.segmenter.network
        groups = network.trainable_variables, network.non_trainable_variables, self.optimizer.variables
        return tuple([variable.value for variable in group] for group in groups)

    def __call__(self, state: tuple, batch: dict):
        """The state after one update, and the loss before it, penalties included; float32 []."""
        trained, others, optimizer = state
        (loss, others), gradients = jax.value_and_grad(self._loss, has_aux=True)(trained, others, batch)
        trained, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trained)
        return (trained, others, optimizer), loss

    def holding(self, trained, others):
        """A context in which the network's variables have these values; keras.StatelessScope."""
        network = self.segmenter.network
        values = [*zip(network.trainable_variables, trained, strict=True)]
        return keras.StatelessScope([*values, *zip(network.non_trainable_variables, others, strict=True)])

    def _loss(self, trained, others, batch):
        network = self.segmenter.network
        with self.holding(trained, others) as scope:
            found = self.segmenter(batch, training=True)
            loss = sum(network.losses, segmentation_loss(found, batch["weights"], self.scheme))
        return loss, [scope.get_current_value(variable) for variable in network.non_trainable_variables]
