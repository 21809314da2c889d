"""Shares of readouts that pass, with 95 % intervals, and the purity that follows from two of them."""

from typing import NamedTuple

import numpy as np

from cosmictagger_tf.inference.evaluate.confidence import wilson


class Rate(NamedTuple):
    """A share of readouts.

    Attributes:
        events: of how many.
        rate: which share passes.
        low, high: its 95 % interval.
    """

    events: int
    rate: float
    low: float
    high: float

    @classmethod
    def of(cls, passed: np.ndarray) -> "Rate | None":
        """That of bool [events]; None of no event."""
        return cls(len(passed), *rate(passed)) if len(passed) else None


class Purity(NamedTuple):
    """The share of readouts with a neutrino among those kept, and where it may lie."""

    purity: float
    low: float
    high: float


def rate(passed: np.ndarray) -> tuple[float, float, float]:
    """The fraction that passes and its 95 % interval, see confidence.wilson.

    Args:
        passed: bool [events]; without any, all three are NaN.
    """
    share = float(np.mean(passed)) if len(passed) else float("nan")
    return share, *wilson(share, len(passed))


def purity_at(prior: float, efficiency: Rate | None, kept: Rate | None) -> Purity | None:
    """The purity where a given share of the readouts has a neutrino.

    Each end takes the low end of one 95 % interval and the high end of the other: they hold in 90 % of cases or more.

    Args:
        prior: that share, between 0 and 1.
        efficiency: of the readouts with a neutrino.
        kept: of those with cosmic rays only.

    Returns:
        None where either is not known, or nothing passes.
    """
    if efficiency is None or kept is None or not prior * efficiency.rate + (1 - prior) * kept.rate:
        return None

    def purity(neutrinos, cosmics):
        right = prior * neutrinos
        return right / (right + (1 - prior) * cosmics)

    return Purity(
        purity(efficiency.rate, kept.rate), purity(efficiency.low, kept.high), purity(efficiency.high, kept.low)
    )
