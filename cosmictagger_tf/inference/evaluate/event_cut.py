"""The event cut of the reference's analysis: whether there is a neutrino in a readout.

An event passes if every plane has more than a few pixels predicted as neutrino (the reference: 5), and if their mean
drift times agree between the planes, since all planes see the same charge arrive at the same time. The reference's
notebooks tabulate both quantities (predicted pixels, mean row a plane); the tolerance in time is an option here.
"""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.config.cuts import Condition, Cut
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.rates import rate
from cosmictagger_tf.inference.evaluate.true_readouts import TrueReadouts


@dataclass(frozen=True)
class EventCut:
    """Which events pass.

    Attributes:
        enough: bool [events], more than the least number of pixels in every plane.
        difference: float64 [events], the greatest difference of the planes' mean rows; NaN where a plane has none.
        matched: bool [events], it is small enough.
    """

    enough: np.ndarray
    difference: np.ndarray
    matched: np.ndarray

    @property
    def passed(self) -> np.ndarray:
        """bool [events], both."""
        return self.enough & self.matched


def event_cut(pixels: int, rows: float) -> Cut:
    """The cut with more than `pixels` pixels in every plane and mean drift times within `rows` full-resolution rows."""
    return Cut((Condition("pixels", ">", float(pixels)), Condition("rows", "<=", rows)))


def apply_cut(details: EventDetails, pixels: int, rows: float) -> EventCut:
    """Which events pass `event_cut`, and each of its conditions."""
    quantities = details.quantities()
    enough, matched = (condition.holds(quantities) for condition in event_cut(pixels, rows).conditions)
    return EventCut(enough, quantities["rows"], matched)


def pass_rates(cut: EventCut, truth: TrueReadouts) -> dict[str, dict]:
    """The pass rates with their intervals: of each condition, of both, and of both by what the events are in truth."""
    groups: dict[str, tuple[np.ndarray, np.ndarray | slice]] = {
        "enough pixels": (cut.enough, slice(None)),
        "matching drift times": (cut.matched, slice(None)),
        "both": (cut.passed, slice(None)),
    }
    groups |= {f"both, {name}": (cut.passed, chosen) for name, chosen in truth.partition().items()}
    result = {}
    for name, (passed, chosen) in groups.items():
        value, low, high = rate(passed[chosen])
        result[name] = {"events": len(passed[chosen]), "rate": value, "low": low, "high": high}
    return result
