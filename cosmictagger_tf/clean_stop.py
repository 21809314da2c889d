"""The signals that ask a process to stop: noted until its present step is done, or an exit in order.

One that was ignored when the process began, as under nohup or in a background job, stays ignored.
"""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator


class CaughtSignals:
    """Between `take` and `give_back`, SIGTERM and SIGINT are noted instead of ending the process.

    The first one gives them back: a second one, of either kind, acts at once.

    Args:
        act: None, or what is done with the signal beside.

    Attributes:
        number: None, or the signal that came.
    """

    def __init__(self, act: Callable[[signal.Signals], None] | None = None):
        self.act = act
        self.number: signal.Signals | None = None
        self.handlers: dict[int, signal._HANDLER] = {}

    @property
    def exit_status(self) -> int | None:
        """None, or 128 + the number of the signal that came (143 for SIGTERM, 130 for SIGINT)."""
        return None if self.number is None else 128 + self.number

    def take(self):
        """Takes over the signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self.handlers[number] = signal.signal(number, self._note)

    def _note(self, number, frame):
        self.give_back()
        self.number = signal.Signals(number)
        if self.act:
            self.act(self.number)

    def give_back(self):
        """Gives the signals back."""
        while self.handlers:
            signal.signal(*self.handlers.popitem())


@contextlib.contextmanager
def exit_on_signals(outcome: str) -> Iterator[None]:
    """Within it SIGTERM and SIGINT end the process in order, with status 143 or 130.

    Args:
        outcome: printed for the user, on the stopped work; "" = nothing, another process reports it.
    """

    def leave(number: signal.Signals):
        raise SystemExit(128 + number)

    caught = CaughtSignals(leave)
    caught.take()
    try:
        yield
    except SystemExit:
        if caught.number is not None and outcome:
            print(f"stopped by {caught.number.name}; {outcome}", file=sys.stderr)
        raise
    finally:
        caught.give_back()
