"""What Keras's backends cannot do in a training: refused by name before it begins."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.launch import launched
from cosmictagger_tf.training.run_config import RunConfig

CORES = "takes all cores that the process may use (taskset gives it fewer)"
NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


class Limit(NamedTuple):
    """An option that a backend does not have.

    Attributes:
        backends: of Keras, blanks between them.
        option: as the user writes it.
        used: whether a run has it.
        reason: what it does instead, or why not.
    """

    backends: str
    option: str
    used: Callable[[RunConfig], bool]
    reason: str


LIMITS = (
    Limit("jax", "noxla", lambda c: c.execution.xla is False, "compiles with XLA always"),
    Limit(
        "jax",
        "remat",
        lambda c: c.network.remat and c.network.conv_mode == "sparse",
        "does not recompute in the sparse network: jax.checkpoint does not take its layers' own gradients",
    ),
    Limit("jax", "inter_op_parallelism_threads", lambda c: c.execution.inter_op_parallelism_threads > 0, CORES),
    Limit("jax", "intra_op_parallelism_threads", lambda c: c.execution.intra_op_parallelism_threads > 0, CORES),
    Limit(
        "torch", "steps_per_execution", lambda c: c.train.steps_per_execution > 1, "takes one step at a time in Keras"
    ),
    Limit("torch", "profile", lambda c: bool(c.train.profile), "writes no trace that the Profile tab reads"),
    Limit(
        "jax torch",
        "distributed=true",
        lambda c: c.distributed.distributed == "true",
        "is of one process: Horovod averages TensorFlow's gradients alone",
    ),
)


def refuse_limits(config: RunConfig):
    """Raises ConfigError for the first option of a run that the Keras backend in use does not have."""
    backend = keras.backend.backend()
    if backend not in NAMES:
        raise ConfigError(f"KERAS_BACKEND={backend}: trains with {', '.join(NAMES)}")
    for limit in LIMITS:
        if backend in limit.backends.split() and limit.used(config):
            raise ConfigError(
                f"--{limit.option}: KERAS_BACKEND={backend} {limit.reason}: leave it out, or use TensorFlow"
            )
    if launched().many and backend != "tensorflow":
        raise ConfigError(
            f"{launched().launcher} started {launched().size} ranks, and a training with KERAS_BACKEND={backend} is of "
            "one process: start it without the launcher, or use TensorFlow"
        )
