"""The training step as JAX takes it: a pure function of weights and batch, which jax.jit compiles as a whole.

For machines with a GPU whose TensorFlow does not see it, or where only JAX is installed (`KERAS_BACKEND=jax`).
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import keras
from keras import ops

from cosmictagger_tf.config import ExecutionConfig, NetworkConfig
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.segmentation import Segmenter
from cosmictagger_tf.training.evaluation import measures
from cosmictagger_tf.training.losses import mean_over_images


def refuse_step(network: NetworkConfig, settings: ExecutionConfig):
    """Raises ConfigError where an option asks for a step that JAX does not take."""
    refused = {
        "noxla": (not settings.xla, "compiles with XLA always"),
        "deterministic": (settings.deterministic, "leaves that to XLA_FLAGS=--xla_gpu_deterministic_ops=true"),
        "precision=mixed": (settings.precision == "mixed", "scales no losses; use bfloat16"),
        # jax.checkpoint finds that the sparse layers' own gradients leak its tracers (JAX 0.7).
        "remat": (network.remat and network.conv_mode == "sparse", "does not recompute in the sparse network"),
    }
    refuse_by_name(refused)


def refuse_by_name(refused: Mapping[str, tuple[object, str]]):
    """Raises ConfigError for the first option that is asked for.

    Args:
        refused: for each option whether it is asked for, and what KERAS_BACKEND=jax does instead.
    """
    for name, (asked, reason) in refused.items():
        if asked:
            raise ConfigError(f"--{name}: KERAS_BACKEND=jax {reason}: leave it out, or use TensorFlow")


class StepState(NamedTuple):
    """The values of the trained weights, of the network's other variables, and of the optimizer's."""

    trained: list
    others: list
    optimizer: list


class StepResult(NamedTuple):
    """What a step found before its update.

    Attributes:
        loss: float32 [], penalties included.
        gradient: float32 [], the norm of all gradients together.
        measures: of each image; see evaluation.measures.
    """

    loss: jax.Array
    gradient: jax.Array
    measures: dict


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

    def _variables(self) -> StepState:
        network = self.segmenter.network
        return StepState(network.trainable_variables, network.non_trainable_variables, self.optimizer.variables)

    def state(self) -> StepState:
        """The values that the variables have."""
        return StepState(*([variable.value for variable in group] for group in self._variables()))

    def assign(self, state: StepState):
        """Gives the variables copies of a state's values."""
        for variables, values in zip(self._variables(), state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(jax.numpy.array(value))

    def __call__(self, state: StepState, batch: dict) -> tuple[StepState, StepResult]:
        """The state after one update, and what was found before it."""
        (loss, (others, found)), gradients = jax.value_and_grad(self._loss, has_aux=True)(*state[:2], batch)
        trained, optimizer = self.optimizer.stateless_apply(state.optimizer, gradients, state.trained)
        squares = sum(ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients)
        return StepState(trained, others, optimizer), StepResult(loss, ops.sqrt(squares), found)

    def holding(self, trained, others):
        """A context in which the network's variables have these values; keras.StatelessScope."""
        network = self.segmenter.network
        values = [*zip(network.trainable_variables, trained, strict=True)]
        return keras.StatelessScope([*values, *zip(network.non_trainable_variables, others, strict=True)])

    def _loss(self, trained, others, batch):
        network = self.segmenter.network
        with self.holding(trained, others) as scope:
            found = measures(self.segmenter(batch, training=True), self.scheme)
            penalties = [ops.cast(penalty, "float32") for penalty in network.losses]
            loss = sum(penalties, mean_over_images(found["losses"], batch["weights"]))
        return loss, ([scope.get_current_value(variable) for variable in network.non_trainable_variables], found)
