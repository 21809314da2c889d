"""Confidence intervals: Wilson's of a share, and the bootstrap's over events.

For the latter the events are drawn again with replacement, as many as there are; each drawing gives its metrics, and an
interval is the middle 95 % of them (the percentile method: Efron and Tibshirani, An Introduction to the Bootstrap,
chapter 13).
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from cosmictagger_tf.training.evaluation import EventTable
from cosmictagger_tf.training.metrics import metrics_from_counts, named_metrics

LEVEL = 0.95
DRAWINGS_AT_ONCE = 128


def bootstrap_intervals(table: EventTable, drawings: int, seed: int) -> dict[str, tuple[float, float]]:
    """The interval of every value of EventTable.summary, by its name; empty without drawings, or of a single event.

    Args:
        table: of the evaluation.
        drawings: how often the events are drawn again.
        seed: of the drawing.
    """
    # One event drawn again is the same: its intervals would have no width.
    if not drawings or len(table.entries) < 2:
        return {}
    parts: dict[str, list[np.ndarray]] = {}
    for weights in drawn(len(table.entries), drawings, np.random.default_rng(seed)):
        for name, values in _weighted_summary(table, weights).items():
            parts.setdefault(name, []).append(values)
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    quantiles = {name: np.quantile(np.concatenate(values), ends) for name, values in parts.items()}
    return {name: (float(low), float(high)) for name, (low, high) in quantiles.items()}


def wilson_interval(share: float, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share, of one trial or more (E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209)."""
    z = 1.959964
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At 0 and 1 it ends there, but for rounding.
    return min(max(float(middle - half), 0.0), share), max(min(float(middle + half), 1.0), share)


def drawn(events: int, drawings: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each event was drawn, int64 [some drawings, events], until there are as many drawings as asked for."""
    for first in range(0, drawings, DRAWINGS_AT_ONCE):
        yield rng.multinomial(events, np.full(events, 1 / events), size=min(DRAWINGS_AT_ONCE, drawings - first))


def _weighted_summary(table, weights) -> dict[str, np.ndarray]:
    # EventTable.summary of each drawing: float64 [drawings] by name.
    events, planes = table.counts.shape[:2]
    headline = {
        name: weights @ value.reshape(events, planes) / events
        for name, value in metrics_from_counts(table.counts).items()
    }
    summed = (weights @ table.counts.reshape(events, -1)).reshape(len(weights), *table.counts.shape[1:])
    pooled = metrics_from_counts(summed)
    headline, pooled = ({name: value.T for name, value in values.items()} for values in (headline, pooled))
    named = named_metrics(headline, pooled, partial(np.mean, axis=0))
    return {"loss": weights @ table.losses.astype(np.float64) / events} | named
