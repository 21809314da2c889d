"""Reliability: of what is given a probability of 20 %, is a fifth true?

Pixels of a readout depend on each other, so all is counted readout by readout, and intervals are of readouts. A bin's
interval is Wilson's for as many trials as readouts have something in it: exact enough for events, wide for pixels. The
expected calibration error is the mean distance of probability and truth over the bins, weighted by what is in them
(C. Guo et al., arXiv:1706.04599). Chance alone makes it greater than 0; drawing readouts again adds to it once more,
which the interval takes off (the basic bootstrap: A. C. Davison and D. V. Hinkley, Bootstrap Methods, section 5.2).
"""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.inference.evaluate.confidence import ENDS, drawn_events, wilson

# Equally wide, from 0 to 1.
BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """What was given a probability from `first` to `last`.

    Attributes:
        number: of pixels or events.
        readouts: how many have one of them.
        predicted: their mean probability.
        true: the share of them that is true.
        low, high: its 95 % interval.
    """

    first: float
    last: float
    number: int
    readouts: int
    predicted: float
    true: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """Probabilities against the truth.

    Attributes:
        bins: those that hold something, by rising probability.
        error: the expected calibration error; NaN where `lacks` says that there is nothing.
        interval: its 95 % interval; None without drawings, or of a single readout.
        lacks: "none is there", "none is true" or "none is false", where that is so; else empty.
    """

    bins: tuple[ReliabilityBin, ...]
    error: float
    interval: tuple[float, float] | None
    lacks: str


def reliability_sums(probabilities: np.ndarray, truth: np.ndarray, readouts: np.ndarray, number: int) -> np.ndarray:
    """What reliability needs of readouts; those of batches are concatenated.

    Args:
        probabilities: float [n], of pixels, or of events: one a readout.
        truth: bool [n], whether it is what it has the probability to be.
        readouts: integer [n], which readout it is of, from 0.
        number: of readouts.

    Returns:
        float64 [number, bins, 3]: how many there are, how many of them are true, and the sum of their probabilities.

    Raises:
        ValueError: one is no probability.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a probability is not from 0 to 1")
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    places = np.asarray(readouts, np.int64) * BINS + bins
    sums = [np.bincount(places, weights, number * BINS) for weights in (None, truth, probabilities)]
    return np.stack(sums, axis=-1).reshape(number, BINS, 3).astype(np.float64)


def reliability(
    sums: np.ndarray, drawings: int = 1000, seed: int = 0, weights: np.ndarray | None = None
) -> Reliability:
    """The reliability of a set of readouts.

    Args:
        sums: see reliability_sums.
        weights: float [readouts], what each counts for; None = 1. Not in the numbers of what is in the bins.
        drawings: how often the readouts are drawn again for the interval of the error; 0 = no interval.
        seed: of the drawing.
    """
    numbers = sums[..., 0].sum(axis=0)
    sums = sums if weights is None else sums * weights[:, None, None]
    total = sums.sum(axis=0)
    number, true, _ = total.sum(axis=0)
    lacks = "" if 0 < true < number else "none is false" if true else "none is true"
    filled = np.flatnonzero(total[:, 0])
    bins = tuple(_bin(i, total[i], int(numbers[i]), int((sums[:, i, 0] > 0).sum())) for i in filled)
    error = float(_errors(total))
    interval = _interval(sums, error, drawings, seed) if number else None
    return Reliability(bins, error, interval, lacks if number else "none is there")


def _bin(i, total, number, readouts) -> ReliabilityBin:
    weighted, true, summed = total
    share = float(true / weighted)
    low, high = wilson(share, readouts)
    return ReliabilityBin(i / BINS, (i + 1) / BINS, number, readouts, float(summed / weighted), share, low, high)


def _errors(totals) -> np.ndarray:
    # [..., bins, 3] -> [...]; NaN of nothing.
    number = totals[..., 0].sum(axis=-1)
    distance = np.abs(totals[..., 1] - totals[..., 2]).sum(axis=-1)
    return np.where(number > 0, distance / np.maximum(number, 1), np.nan)


def _interval(sums, error, drawings, seed) -> tuple[float, float] | None:
    if not drawings or len(sums) < 2:
        return None
    weights = drawn_events(len(sums), drawings, seed)
    errors = np.concatenate([_errors(np.tensordot(times, sums, 1)) for times in weights])
    low, high = np.nanquantile(errors, ENDS)
    return max(2 * error - high, 0.0), max(2 * error - low, 0.0)
