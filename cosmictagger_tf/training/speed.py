"""The step that a training is at, and its speed between two records."""

import contextlib
import time
from typing import NamedTuple


class Progress:
    """The first and last step of a training, and its clock, which stops while it does something else.

    Args:
        start: steps done before this fit.
        total: the last step.
    """

    def __init__(self, start: int, total: int):
        self.start, self.total = start, total
        self.paused_seconds = 0.0

    def step(self, batch: int) -> int:
        """The steps done when Keras reports the end of a batch of this fit (the last execution may be shorter)."""
        return min(self.start + batch + 1, self.total)

    @contextlib.contextmanager
    def paused(self):
        """Around what is no training."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.paused_seconds += time.perf_counter() - began


def is_due(every: float, before: int, step: int) -> bool:
    """Whether a multiple of `every` lies in the steps before + 1, ..., step; never where it is 0."""
    return bool(every) and before // every != step // every


class Readings(NamedTuple):
    """What a training's clocks show after one of its steps.

    Attributes:
        step: the steps done.
        paused: seconds spent so far on what is no training.
        waited: seconds that steps have waited for data so far.
        exchanging: seconds that gradients were on their way between ranks so far.
        seconds: the time of day, on time.perf_counter.
    """

    step: int
    paused: float
    waited: float
    exchanging: float
    seconds: float

    @classmethod
    def now(cls, step: int, paused: float, waited: float, exchanging: float = 0.0) -> "Readings":
        """With the present time."""
        return cls(step, paused, waited, exchanging, time.perf_counter())


def speed_between(before: Readings, now: Readings, total: int, images_per_step: int) -> dict[str, float]:
    """The speed of the steps between two readings, as the records of recorders.py hold it.

    Args:
        before, now: the readings.
        total: the last step of the run.
        images_per_step: events of a global batch.

    Returns:
        "images_per_second" and, as parts of the time, "waiting" and "exchanging", all without the pauses; and
        "seconds_left", with pauses as there were.
    """
    steps, paused, waited, exchanging, seconds = (new - old for new, old in zip(now, before, strict=True))
    training = max(seconds - paused, 1e-9)
    return {
        "images_per_second": steps * images_per_step / training,
        "waiting": min(1.0, waited / training),
        "exchanging": min(1.0, exchanging / training),
        "seconds_left": (total - now.step) * seconds / steps,
    }
