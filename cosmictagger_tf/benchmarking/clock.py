"""A stopwatch for functions, and the memory that the process has had."""

import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple


class Timing(NamedTuple):
    """Seconds that one call takes.

    Attributes:
        fastest, median, slowest: wall time of the calls. Of a machine that others use too, the fastest tells most.
        cpu: over all threads, on average over the calls; tells whether something else held the cores.
    """

    fastest: float
    median: float
    slowest: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.fastest:.3f} s (median {self.median:.3f}, slowest {self.slowest:.3f}; CPU {self.cpu:.3f})"

    def rounded(self) -> dict[str, float]:
        """The seconds by name, as a file has them."""
        return {f"{name}_s": round(value, 6) for name, value in self._asdict().items()}


def timing_of(walls: list[float], cpu: float) -> Timing:
    """The Timing of calls that took these seconds each, and `cpu` seconds of CPU time together; NaN of no call."""
    if not walls:
        return Timing(math.nan, math.nan, math.nan, math.nan)
    return Timing(min(walls), statistics.median(walls), max(walls), cpu / len(walls))


def timed(call: Callable[[], object], repeats: int) -> Timing:
    """Times `call`, which must wait for its result, after one call that is not counted."""
    call()
    walls, before = [], time.process_time()
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        walls.append(time.perf_counter() - began)
    return timing_of(walls, time.process_time() - before)


def peak_memory() -> float:
    """GB that the process has held at most since it began."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9
