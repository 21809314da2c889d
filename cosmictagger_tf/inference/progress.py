"""Progress of a long pass over events: images/s and time left."""

import sys
import time

from cosmictagger_tf.text import counted
from cosmictagger_tf.training.recorders import clock, is_terminal


class Progress:
    """Prints how far a pass is, at most once a second on a terminal and once in ten elsewhere, to standard error.

    Args:
        total: events in all.
        verb: what is done to them, as in "evaluated".
    """

    def __init__(self, total: int, verb: str, stream=None):
        self.total, self.verb, self.done = total, verb, 0
        self.stream = stream or sys.stderr
        self.began = self.shown = time.perf_counter()

    def advance(self, events: int):
        """Counts finished events."""
        self.done = min(self.done + events, self.total)
        now = time.perf_counter()
        terminal = is_terminal(self.stream)
        if now - self.shown < (1 if terminal else 10) and self.done < self.total:
            return
        self.shown = now
        if not self.done:
            return
        rate = self.done / max(now - self.began, 1e-9)
        text = f"{self.verb} {self.done}/{counted(self.total, 'event')}  {rate:.2f} images/s"
        text += f"  {clock((self.total - self.done) / rate)} left"
        end = "\n" if not terminal or self.done >= self.total else ""
        print(f"\r\x1b[K{text}" if terminal else text, end=end, file=self.stream, flush=True)
