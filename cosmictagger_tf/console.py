"""Where the package's log lines go while a command runs: to standard output, warnings to standard error.

Other programs that use the package set up Python's logger `cosmictagger_tf` as any other.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator

PACKAGE = logging.getLogger("cosmictagger_tf")


@contextlib.contextmanager
def log_lines(rank: int) -> Iterator[None]:
    """Within it the log is printed, a line a record; of a rank other than 0 its warnings alone."""
    handler, level = _Printer(), PACKAGE.level
    show_rank(rank)
    PACKAGE.addHandler(handler)
    PACKAGE.propagate = False
    try:
        yield
    finally:
        PACKAGE.propagate = True
        PACKAGE.removeHandler(handler)
        PACKAGE.setLevel(level)


def show_rank(rank: int):
    """From now on this process is the job's rank of that number."""
    PACKAGE.setLevel(logging.WARNING if rank else logging.INFO)


class _Printer(logging.Handler):
    # A stream that refuses (its reader is gone, its disk is full) ends the command, as with print.

    def emit(self, record):
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(record.getMessage(), file=stream, flush=True)
