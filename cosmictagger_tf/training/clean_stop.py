"""The signals that ask a training to stop, noted until its present step is done."""

import signal


class CaughtSignals:
    """Between `take` and `give_back`, SIGTERM and SIGINT are noted instead of ending the process.

    Attributes:
        number: None, or the signal that came.
    """

    def __init__(self):
        self.number: signal.Signals | None = None
        self.handlers = {}

    @property
    def exit_status(self) -> int | None:
        """None, or 128 + the number of the signal that came (143 for SIGTERM, 130 for SIGINT)."""
        return None if self.number is None else 128 + self.number

    def take(self):
        """Takes over the signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.handlers[number] = signal.signal(number, self._note)

    def _note(self, number, frame):
        self.number = signal.Signals(number)
        # A second signal acts at once.
        signal.signal(number, self.handlers[number])

    def give_back(self):
        """Gives the signals back."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
