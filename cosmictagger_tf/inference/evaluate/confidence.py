"""What 95 % intervals are made of: events drawn again, and Wilson's formula for shares."""

from collections.abc import Iterator

import numpy as np

LEVEL = 0.95
ENDS = (1 - LEVEL) / 2, (1 + LEVEL) / 2
# Of the normal distribution: its middle LEVEL reaches so far.
Z = 1.959964
DRAWINGS_AT_ONCE = 128


def drawn_events(events: int, drawings: int, seed: int) -> Iterator[np.ndarray]:
    """int64 [some drawings, events]: how often each event is drawn, of as many with replacement; in parts."""
    rng = np.random.default_rng(seed)
    for first in range(0, drawings, DRAWINGS_AT_ONCE):
        yield rng.multinomial(events, np.full(events, 1 / events), size=min(DRAWINGS_AT_ONCE, drawings - first))


def wilson(share: float, trials: int) -> tuple[float, float]:
    """The interval of a share (E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209); NaN without a trial."""
    if not trials:
        return float("nan"), float("nan")
    middle = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z / (1 + Z**2 / trials) * np.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    # At 0 and 1 it ends there, but for rounding.
    return min(max(float(middle - half), 0.0), share), max(min(float(middle + half), 1.0), share)
