"""What all doors share: parse, run, and turn a user's mistake into one line and a non-zero exit."""

import os
import sys
from collections.abc import Callable

from cosmictagger_tf.errors import UserError
from cosmictagger_tf.flags import HelpRequested, help_text, parse

USER_ERROR = 2


def open_door(
    module: str,
    main: Callable,
    groups: tuple,
    description: str,
    examples: str,
    argv=None,
    *,
    with_given=False,
    uses_tensorflow=True,
) -> int:
    """Runs a door: `main` gets one config per class in `groups`, in that order.

    Args:
        module: the door's name, as in `python -m cosmictagger_tf.<module>`.
        main: does the work.
        groups: the config classes whose fields are the door's flags.
        description: what the door does, for --help.
        examples: command lines, for --help.
        argv: the arguments; None = the process's.
        uses_tensorflow: import TensorFlow, quietly, before main.
        with_given: main takes, first, the names of the options that the user set (flags.Parsed.given).

    Returns:
        The exit status: what main returns (None counts as 0), 2 for a mistake of the user, 130 for Ctrl-C.
    """
    try:
        parsed = parse(sys.argv[1:] if argv is None else argv, groups)
        arguments = (parsed.given, *parsed.configs) if with_given else parsed.configs
        if uses_tensorflow:
            _import_tensorflow_quietly()
        return main(*arguments) or 0
    except HelpRequested:
        print(help_text(module, description, examples, groups))
        return 0
    except UserError as error:
        print(f"cosmictagger_tf.{module}: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(f"cosmictagger_tf.{module}: interrupted", file=sys.stderr)
        return 130


def _import_tensorflow_quietly():
    # While it is imported, and while it looks for devices, TensorFlow writes notices on oneDNN, CPU features, missing
    # GPUs and absl straight to file descriptor 2.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import keras  # noqa: F401
        import tensorflow

        tensorflow.config.list_physical_devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
