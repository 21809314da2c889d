"""What a user sees of work that takes long: on a terminal a bar or a spinner, by rich; elsewhere plain lines."""

import contextlib
import functools
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Iterator

from cosmictagger_tf.text import counted

log = logging.getLogger(__name__)


def _seconds(text: str, default: float) -> float:
    """A number of seconds; infinity for 0, the default for what is no number."""
    try:
        return float(text) if float(text) > 0 else math.inf
    except ValueError:
        return default


# Seconds of silence after which an activity is shown; and between the lines of a count.
SILENCE, PAUSE = _seconds(os.environ.get("COSMICTAGGER_ACTIVITY_SECONDS", ""), 2.5), 10.0
# Activities within activities: the last one is shown.
_going_on: list[threading.Event] = []


def is_terminal(stream) -> bool:
    """Whether a line that is written to `stream` can be rewritten: mpirun gives each rank a terminal, and logs it."""
    return stream.isatty() and "OMPI_COMM_WORLD_RANK" not in os.environ and "PMI_RANK" not in os.environ


def clock(seconds: float) -> str:
    """1:02:03 for 3723 seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


@contextlib.contextmanager
def activity(what: str) -> Iterator[None]:
    """Around work without steps to count, such as the tracing of a graph: shows what is being done, until it is done.

    On a terminal, with the seconds that it has taken, and nothing is left of it; elsewhere as a line of the log every
    2.5 seconds, or as many as COSMICTAGGER_ACTIVITY_SECONDS has (0: no lines).

    Args:
        what: such as "tracing the training step".
    """
    if is_terminal(sys.stdout) and log.isEnabledFor(logging.INFO):
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        with _shown(sys.stdout, SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as shown:
            shown.add_task(what, total=None)
            yield
        return
    stopping, began = threading.Event(), time.perf_counter()
    _going_on.append(stopping)

    def watch():
        # A stream that refuses is met again, and reported, by the next line of the command itself.
        with contextlib.suppress(OSError, ValueError):
            while not stopping.wait(min(SILENCE, threading.TIMEOUT_MAX)):
                if _going_on[-1] is not stopping:
                    continue
                log.info(f"{what}: {time.perf_counter() - began:.0f} s")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        _going_on.remove(stopping)
        thread.join()


class Bar:
    """A bar on a terminal, from the first call of `show` until it is full or closed.

    Args:
        total: what the count ends at.
        stream: a terminal.
    """

    def __init__(self, total: int, stream):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.table import Column

        # The text takes what is left of the line.
        text = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        self.total, self._shown = total, _shown(stream, MofNCompleteColumn(), BarColumn(20), text, transient=False)
        self._task = self._shown.add_task("", total=total)

    def show(self, done: int, text: str | None = None):
        """The count so far and, beside the bar, a text; None leaves that one as it is."""
        self._shown.start()
        self._shown.update(self._task, completed=done, description=text)
        if done >= self.total:
            self.close()

    def print(self, line: str):
        """Prints a line above the bar."""
        self._shown.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self):
        """Leaves the bar as it is; the next line comes below."""
        self._shown.stop()


def _shown(stream, *columns, transient: bool = True):
    from rich.progress import Progress

    console = _console(getattr(stream, "rich_proxied_file", stream))
    return Progress(*columns, console=console, transient=transient, expand=not transient)


@functools.cache
def _console(stream):
    # One a stream: what is shown within something else is drawn below it.
    from rich.console import Console

    return Console(file=stream)


class EventProgress:
    """How far a pass over events is, with images/s and time left, on standard error.

    On a terminal a bar; elsewhere a line at most every ten seconds, and one at the end. Nothing before the first event.

    Args:
        total: events in all.
        verb: what is done to them, as in "evaluated".
        stream: where to; None = standard error.
    """

    def __init__(self, total: int, verb: str, stream=None):
        self.total, self.verb, self.done = total, verb, 0
        self.stream = stream or sys.stderr
        self.bar = Bar(total, self.stream) if is_terminal(self.stream) else None
        self.began = self.shown = time.perf_counter()

    def advance(self, events: int):
        """Counts finished events."""
        self.done = min(self.done + events, self.total)
        now = time.perf_counter()
        if not self.done:
            return
        rate = self.done / max(now - self.began, 1e-9)
        text = f"{rate:.2f} images/s  {clock((self.total - self.done) / rate)} left"
        if self.bar:
            self.bar.show(self.done, f"{self.verb}  {text}")
        elif now - self.shown >= PAUSE or self.done == self.total:
            self.shown = now
            print(f"{self.verb} {self.done}/{counted(self.total, 'event')}  {text}", file=self.stream, flush=True)
