"""Whether an evaluation's probabilities hold, of events and of pixels.

Those of calibrated weights are at equal priors: so readouts with a neutrino, and those without, count as if there were
as many of both.
"""

from dataclasses import asdict

import numpy as np

from cosmictagger_tf.calibration.probabilities import neutrino_probability
from cosmictagger_tf.calibration.working_points import EQUAL_PRIOR, Calibration
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.reliability import Reliability, reliability, reliability_sums
from cosmictagger_tf.training.evaluation import EventTable


def reliabilities(
    table: EventTable, details: EventDetails, calibration: Calibration, drawings: int, seed: int
) -> dict[str, Reliability]:
    """Reliability by name.

    "events": of the probability that a readout has a neutrino; needs an event head. "pixels": of the probability that a
    stored pixel is of a neutrino.

    Args:
        table, details: of the events.
        calibration: of the weights.
        drawings: how often the events are drawn again for the intervals.
        seed: of the drawing.
    """
    there, events = table.with_neutrino, len(table.entries)
    weights = np.ones(events)
    if calibration.training_prior is not None and there.any() and not there.all():
        weights = np.where(there, EQUAL_PRIOR / there.mean(), (1 - EQUAL_PRIOR) / (1 - there.mean()))
    sums = {}
    if details.class_scores is not None:
        given = neutrino_probability(details.class_scores)
        sums["events"] = reliability_sums(given, there, np.arange(events), events)
    if details.reliability is not None:
        sums["pixels"] = details.reliability
    return {name: reliability(each, drawings, seed, weights) for name, each in sums.items()}


def describe_reliabilities(sets: dict[str, Reliability]) -> dict:
    """Every number, for JSON."""
    return {name: asdict(each) for name, each in sets.items()}
