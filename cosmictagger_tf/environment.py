"""What a command inherits from its environment, put in order before it works: streams, others' settings."""

import contextlib
import gc
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator

from cosmictagger_tf.errors import ConfigError

# What would make fit end early, or put another Keras in the place of the one that is used.
FORGOTTEN = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "TF_USE_LEGACY_KERAS")
# Where there is nothing keras.json is not read nor, by all ranks of a node at once, written, and no matplotlibrc read.
REPLACED = {"KERAS_HOME": os.devnull, "MATPLOTLIBRC": os.devnull, "MPLBACKEND": "agg"}


def open_standard_streams():
    """Opens /dev/null in the place of standard streams that are closed, as by cron or a daemon.

    Else the next file that is opened would get the number of one of them, and with it all that libraries print. What
    the encoding of a stream lacks, such as an umlaut in ASCII or a name in other bytes, is shown as an escape.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = os.fdopen(descriptor, "w" if descriptor else "r")
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    for shown in (sys.stdout, sys.stderr):
        # Those of a notebook take any text.
        if isinstance(shown, io.TextIOWrapper):
            shown.reconfigure(errors="backslashreplace")


def ignore_settings():
    """Takes out of this process what the user set for Keras and matplotlib elsewhere, and other packages' warnings."""
    for name in FORGOTTEN:
        os.environ.pop(name, None)
    os.environ.update(REPLACED)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # Even where the user made errors of warnings.
    warnings.filterwarnings("ignore", module="(?!cosmictagger_tf|__main__)")


def discard_output():
    """Sends what is and will be printed to /dev/null."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def chosen_backend() -> str:
    """The name of Keras's backend, before it is imported."""
    return os.environ.get("KERAS_BACKEND") or "tensorflow"


def import_backend():
    """Imports Keras and its backend, quietly: the one that KERAS_BACKEND names, else TensorFlow.

    Raises:
        ConfigError: Keras has no such backend.
    """
    chosen = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = chosen_backend()
    try:
        with _quiet():
            import keras  # noqa: F401

            if os.environ["KERAS_BACKEND"] == "tensorflow":
                import tensorflow

                tensorflow.config.list_physical_devices()
        # What was imported stays: the collector of garbage need not look at it again and again.
        gc.freeze()
    except ValueError as error:
        # Where the user named no backend, it is a broken installation, whose whole traceback has more.
        if not chosen:
            raise
        raise ConfigError(f"KERAS_BACKEND={chosen}: {error}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # While it is imported, and while it looks for devices, TensorFlow writes notices on oneDNN, CPU features, missing
    # GPUs and absl straight to file descriptor 2.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
