"""ROC and precision-recall curves of the neutrino score, from histograms that are filled batch by batch.

The bins are uniform in the log-odds of the score, ln(s / (1 - s)): BINS of them from -LIMIT to LIMIT, with what lies
beyond in the first and the last. Pixels of one bin are ranked as equals, and the exact curve lies within the boxes
that this leaves; `auc_error` is half the boxes' area, the most by which the area under the ROC curve can be off.
"""

from dataclasses import dataclass, field

import numpy as np

from cosmictagger_tf.detector import N_CLASSES, NEUTRINO

BINS, LIMIT = 4096, 20.48
TINY = 1e-30


@dataclass
class ScoreHistogram:
    """How often each score was given to pixels of each class.

    Args:
        planes: number of wire planes.

    Attributes:
        counts: int64 [planes, bins, classes].
    """

    planes: int
    counts: np.ndarray = field(init=False)

    def __post_init__(self):
        self.counts = np.zeros((self.planes, BINS, N_CLASSES), np.int64)

    def fill(self, plane: int, scores: np.ndarray, labels: np.ndarray):
        """Adds pixels of a plane: neutrino scores float32 [n] in 0 to 1, and labels [n]."""
        scores = scores.astype(np.float64)
        odds = np.log(np.maximum(scores, TINY)) - np.log(np.maximum(1.0 - scores, TINY))
        bins = np.clip(((odds + LIMIT) * (BINS / (2 * LIMIT))).astype(np.int64), 0, BINS - 1)
        flat = np.bincount(bins * N_CLASSES + labels.astype(np.int64), minlength=BINS * N_CLASSES)
        self.counts[plane] += flat.reshape(BINS, N_CLASSES)

    def curve(self, plane: int | None = None) -> "Curve":
        """The curve of one plane, or of all together."""
        counts = self.counts.sum(axis=0) if plane is None else self.counts[plane]
        positive, negative = counts[:, NEUTRINO], counts.sum(axis=1) - counts[:, NEUTRINO]
        return Curve(positive[::-1], negative[::-1])


@dataclass(frozen=True)
class Curve:
    """Neutrino pixels and others by falling neutrino score.

    Attributes:
        positive, negative: int64 [bins].
    """

    positive: np.ndarray
    negative: np.ndarray

    @property
    def lacks(self) -> str:
        """What an area needs and the set lacks: "no neutrino pixel", "no other pixel", or nothing."""
        if self.positive.sum():
            return "" if self.negative.sum() else "no other pixel"
        return "no neutrino pixel"

    @property
    def thresholds(self) -> np.ndarray:
        """float64 [bins + 1]: the score above which pixels are called neutrino, at each point of the curves."""
        return 1 / (1 + np.exp(-np.linspace(LIMIT, -LIMIT, BINS + 1)))

    @property
    def true_positive_rate(self) -> np.ndarray:
        """float64 [bins + 1]: the efficiency, also called recall."""
        return _cumulative(self.positive) / max(self.positive.sum(), 1)

    @property
    def false_positive_rate(self) -> np.ndarray:
        """float64 [bins + 1]."""
        return _cumulative(self.negative) / max(self.negative.sum(), 1)

    @property
    def precision(self) -> np.ndarray:
        """float64 [bins + 1]: the purity; 1 where nothing is called neutrino."""
        called = _cumulative(self.positive) + _cumulative(self.negative)
        return np.where(called > 0, _cumulative(self.positive) / np.maximum(called, 1), 1.0)

    @property
    def auc(self) -> float:
        """The area under the ROC curve; NaN without neutrino pixels or without others."""
        if self.lacks:
            return float("nan")
        rates = self.true_positive_rate
        return float((np.diff(self.false_positive_rate) * (rates[1:] + rates[:-1]) / 2).sum())

    @property
    def auc_error(self) -> float:
        """The most by which binning can have moved the area."""
        pairs = float(self.positive.sum()) * float(self.negative.sum())
        return float((self.positive.astype(np.float64) * self.negative).sum() / 2 / pairs) if pairs else float("nan")

    @property
    def average_precision(self) -> float:
        """The precision averaged over the recall, in steps: sum of (R_i - R_(i-1)) P_i; NaN without neutrino pixels."""
        if not self.positive.sum():
            return float("nan")
        return float((np.diff(self.true_positive_rate) * self.precision[1:]).sum())


def _cumulative(counts) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
