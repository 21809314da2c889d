"""The event cut of the reference's analysis: whether there is a neutrino in a readout.

An event passes if every plane has more than a few pixels predicted as neutrino (the reference: 5), and if their mean
drift times agree between the planes, since all planes see the same charge arrive at the same time. The reference's
notebooks tabulate both quantities (predicted pixels, mean row a plane); the tolerance in time is an option here.
"""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.intervals import wilson_interval


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


def apply_cut(details: EventDetails, pixels: int, rows: float) -> EventCut:
    """The cut with more than `pixels` pixels in every plane and mean drift times within `rows` full-resolution rows."""
    difference = details.mean_rows.max(axis=1) - details.mean_rows.min(axis=1)
    return EventCut(
        (details.neutrino_pixels > pixels).all(axis=1), difference, np.nan_to_num(difference, nan=np.inf) <= rows
    )


def pass_rates(cut: EventCut, neutrinos: list[Neutrino | None] | None) -> dict[str, dict]:
    """The pass rates with their intervals: of each condition, of both, and of both by flavour or absence of one.

    Args:
        neutrinos: the true one of each event; None where the file has no such product.
    """
    groups = {
        "enough pixels": (cut.enough, slice(None)),
        "matching drift times": (cut.matched, slice(None)),
        "both": (cut.passed, slice(None)),
    }
    if neutrinos is not None:
        flavours = np.array([n.flavour if n else "no neutrino" for n in neutrinos])
        groups |= {f"both, {name}": (cut.passed, flavours == name) for name in sorted(set(flavours))}
    result = {}
    for name, (passed, chosen) in groups.items():
        value, low, high = rate(passed[chosen])
        result[name] = {"events": len(passed[chosen]), "rate": value, "low": low, "high": high}
    return result


def rate(passed: np.ndarray) -> tuple[float, float, float]:
    """The fraction that passes and its 95 % interval, Wilson's.

    Args:
        passed: bool [events]; without any, all three are NaN.
    """
    if not len(passed):
        return (float("nan"),) * 3
    share = float(np.mean(passed))
    return share, *wilson_interval(share, len(passed))
