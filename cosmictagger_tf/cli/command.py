"""The entry point of every command: parse, run, and turn a user's mistake into one line and a non-zero exit."""

import signal
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

from cosmictagger_tf import execution
from cosmictagger_tf.cli.flags import HelpRequested, parse
from cosmictagger_tf.cli.help import help_text
from cosmictagger_tf.cli.preflight import check_inputs
from cosmictagger_tf.config import ExecutionConfig
from cosmictagger_tf.config.unused import describe_unused
from cosmictagger_tf.console import log_lines
from cosmictagger_tf.environment import (
    chosen_backend,
    discard_output,
    ignore_settings,
    import_backend,
    open_standard_streams,
)
from cosmictagger_tf.errors import StoppedElsewhere, UserError, system_reason
from cosmictagger_tf.launch import launched
from cosmictagger_tf.progress import activity

# Seconds that a rank waits before it reports what another one may report, or ends because of that: launchers kill the
# others at the first end.
HEAD_START = 8.0


def run_command(
    module: str,
    main: Callable,
    groups: tuple,
    description: str,
    examples: str,
    argv=None,
    *,
    in_flagfiles=(),
    takes="",
    uses_keras: bool | Callable = True,
    trains: bool = False,
) -> int:
    """Runs a command: `main` gets one config per class in `groups`, in that order.

    Args:
        module: the command's name, as in `python -m cosmictagger_tf.<module>`.
        main: does the work.
        groups: the config classes whose fields are the command's flags.
        description: what the command does, for --help.
        examples: command lines, for --help.
        argv: the arguments; None = the process's.
        in_flagfiles: config classes whose flags a flagfile may have as well, without effect (flags.parse).
        uses_keras: whether inputs are checked, and then Keras and its backend imported, quietly, before main;
            or what decides that, given the configs.
        trains: whether it trains, and --precision=auto means float32.
        takes: what of flags.Parsed main takes first: "explicit"; or "chosen", and then main names those without effect.

    Returns:
        The exit status: what main returns (None counts as 0), 2 for a mistake of the user, 130 for Ctrl-C.
    """
    open_standard_streams()
    ignore_settings()
    try:
        try:
            parsed = parse(sys.argv[1:] if argv is None else argv, groups, in_flagfiles)
        except HelpRequested:
            print(help_text(module, description, examples, groups), flush=True)
            return 0
        arguments = (getattr(parsed, takes), *parsed.configs) if takes else parsed.configs
        if takes != "chosen" and launched().rank == 0:
            _name_unused(module, parsed)
        keras_is_used = uses_keras if isinstance(uses_keras, bool) else uses_keras(*parsed.configs)
        if keras_is_used:
            check_inputs(parsed.configs)
        with log_lines(launched().rank):
            if keras_is_used:
                with activity(f"importing {chosen_backend()}"):
                    import_backend()
                arguments = tuple(
                    execution.resolved(each, trains) if isinstance(each, ExecutionConfig) else each
                    for each in arguments
                )
            status = main(*arguments) or 0
        # Not at exit, where an output that was closed could not be caught.
        sys.stdout.flush()
        return status
    except (Exception, KeyboardInterrupt) as error:
        status = _reported(f"cosmictagger_tf.{module}", error)
        if status is None:
            raise
        return status


def _reported(command: str, error: BaseException) -> int | None:
    """Reports what is no defect of this package in one line; returns the exit status, None for a defect."""
    if isinstance(error, UserError):
        reports = not isinstance(error, StoppedElsewhere)
        # What is wrong is mostly wrong on every rank: unless they have settled who reports it, rank 0 does.
        if not reports or (launched().rank and not error.settled):
            time.sleep(HEAD_START)
        if reports:
            print(f"{command}: {error}", file=sys.stderr)
        return error.exit_status
    if isinstance(error, KeyboardInterrupt):
        if launched().rank == 0:
            print(f"{command}: interrupted", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):
        # The output was closed (`| head`): nothing more is printed, at exit neither.
        discard_output()
        return 128 + signal.SIGPIPE
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if not package or find_spec(package):
            return None
        line = f"needs the package {package}, which is not installed: pip install {package}"
    else:
        reason = system_reason(error)
        if reason is None:
            return None
        line = f"{getattr(error, 'filename', None) or 'the system refuses'}: {reason}"
    print(f"{command}: {line}", file=sys.stderr)
    return UserError.exit_status


def _name_unused(module, parsed):
    line = describe_unused(module, parsed.chosen, parsed.configs, explicit=parsed.explicit, backend=chosen_backend())
    if line:
        print(line, flush=True)
