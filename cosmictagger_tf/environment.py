"""What a command inherits from its environment, put in order before it works: standard streams, Keras's settings."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

from cosmictagger_tf.errors import ConfigError

# Of the environment: what would make fit end early, or put another Keras in the place of the one that is used.
KERAS_VARIABLES = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "TF_USE_LEGACY_KERAS")


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


def discard_output():
    """Sends what is and will be printed to /dev/null."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def import_backend():
    """Imports Keras with its defaults, whatever ~/.keras/keras.json says, and its backend, quietly.

    The backend is the one that KERAS_BACKEND names, else TensorFlow.

    Raises:
        ConfigError: Keras has no such backend.
    """
    chosen = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = chosen or "tensorflow"
    # Nothing can be there: keras.json is neither read nor, by all ranks of a node at once, written.
    os.environ["KERAS_HOME"] = os.devnull
    for name in KERAS_VARIABLES:
        os.environ.pop(name, None)
    try:
        with _quiet():
            import keras  # noqa: F401

            # The networks run without it, on another backend.
            if find_spec("tensorflow"):
                import tensorflow

                tensorflow.config.list_physical_devices()
    except ValueError as error:
        # Where the user named no backend, it is a broken installation, of which the whole traceback tells more.
        if not chosen:
            raise
        raise ConfigError(f"KERAS_BACKEND={chosen}: {error}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # While it is imported, and while it looks for devices, TensorFlow writes notices on oneDNN, CPU features, missing
    # GPUs and absl straight to file descriptor 2. Warnings are of other packages' code, even where the user made errors
    # of them.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
