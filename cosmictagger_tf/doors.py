"""What all doors share: parse, run, and turn a user's mistake into one line and a non-zero exit."""

import os
import sys
from collections.abc import Callable

from cosmictagger_tf.errors import UserError
from cosmictagger_tf.flags import HelpRequested, help_text, parse

USER_ERROR = 2


def open_door(
    module: str, main: Callable, groups: tuple, description: str, examples: str, argv=None, with_given: bool = False
) -> int:
    """Runs a door: `main` gets one config per class in `groups`, in that order.

    Args:
        module: the door's name, as in `python -m cosmictagger_tf.<module>`.
        main: does the work.
        groups: the config classes whose fields are the door's flags.
        description: what the door does, for --help.
        examples: command lines, for --help.
        argv: the arguments; None = the process's.
        with_given: main takes, first, the names of the options that the user set (flags.Parsed.given).

    Returns:
        The exit status: what main returns (None counts as 0), 2 for a mistake of the user, 130 for Ctrl-C.
    """
    _quiet_tensorflow()
    try:
        parsed = parse(sys.argv[1:] if argv is None else argv, groups)
        arguments = (parsed.given, *parsed.configs) if with_given else parsed.configs
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


def _quiet_tensorflow():
    # TensorFlow prints oneDNN, CPU-feature and absl notices at import that say nothing to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
