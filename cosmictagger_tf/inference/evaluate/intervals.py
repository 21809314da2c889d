"""Bootstrap confidence intervals over events.

The events are drawn again with replacement, as many as there are; each drawing gives its metrics, and an interval
is the middle 95 % of them (the percentile method: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13).
"""

from functools import partial

import numpy as np

from cosmictagger_tf.inference.evaluate.confidence import ENDS, drawn_events
from cosmictagger_tf.training.evaluation import EventTable
from cosmictagger_tf.training.metrics import metrics_from_counts, named_metrics


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
    drawn: dict[str, list[np.ndarray]] = {}
    for weights in drawn_events(len(table.entries), drawings, seed):
        for name, values in _weighted_summary(table, weights).items():
            drawn.setdefault(name, []).append(values)
    # A drawing may lack what a value is of.
    quantiles = {name: np.nanquantile(np.concatenate(values), ENDS) for name, values in drawn.items()}
    return {name: (float(low), float(high)) for name, (low, high) in quantiles.items()}


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
    return {"loss": weights @ table.losses.astype(np.float64) / events} | named | table.readout_measures(weights)
