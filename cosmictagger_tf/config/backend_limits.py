"""What Keras's backends cannot do in a training: refused by name before it begins."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

from cosmictagger_tf.config.base import Config, option_values
from cosmictagger_tf.errors import ConfigError

CORES = "takes all cores that the process may use (taskset gives it fewer)"
NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


class Limit(NamedTuple):
    """An option that a backend does not have.

    Attributes:
        backends: of Keras, blanks between them.
        option: as the user writes it.
        used: whether it is; takes the values of all options as attributes.
        reason: what it does instead, or why not.
    """

    backends: str
    option: str
    used: Callable[[Any], bool]
    reason: str


LIMITS = (
    Limit("jax", "noxla", lambda o: o.xla is False, "compiles with XLA always"),
    Limit(
        "jax",
        "remat",
        lambda o: o.remat and o.conv_mode == "sparse",
        "does not recompute in the sparse network: jax.checkpoint does not take its layers' own gradients",
    ),
    Limit("jax", "inter_op_parallelism_threads", lambda o: o.inter_op_parallelism_threads > 0, CORES),
    Limit("jax", "intra_op_parallelism_threads", lambda o: o.intra_op_parallelism_threads > 0, CORES),
    Limit("torch", "steps_per_execution", lambda o: o.steps_per_execution > 1, "takes one step at a time in Keras"),
    Limit("torch", "profile", lambda o: bool(o.profile), "writes no trace that the Profile tab reads"),
    Limit(
        "jax torch",
        "distributed=true",
        lambda o: o.distributed == "true",
        "is of one process: Horovod averages TensorFlow's gradients alone",
    ),
)


def refuse_limits(backend: str, configs: Iterable[Config], launch: Any):
    """Raises ConfigError for the first option of a training that Keras's backend does not have.

    Args:
        backend: its name, whether it is imported or not.
        configs: all of the training; or its network, execution, training and ranks.
        launch: how the process was started (launch.Launch).
    """
    if backend not in NAMES:
        raise ConfigError(f"KERAS_BACKEND={backend}: trains with {', '.join(NAMES)}")
    options = SimpleNamespace(**option_values(configs))
    for limit in LIMITS:
        if backend in limit.backends.split() and limit.used(options):
            raise ConfigError(
                f"--{limit.option}: KERAS_BACKEND={backend} {limit.reason}: leave it out, or use TensorFlow"
            )
    if launch.many and backend != "tensorflow":
        raise ConfigError(
            f"{launch.launcher} started {launch.size} ranks, and a training with KERAS_BACKEND={backend} is of "
            "one process: start it without the launcher, or use TensorFlow"
        )
