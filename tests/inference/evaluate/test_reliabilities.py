"""Reliability at equal priors: it does not depend on how many readouts of an evaluation have a neutrino."""

import numpy as np
import pytest

from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.reliabilities import describe_reliabilities, reliabilities
from cosmictagger_tf.training.evaluation import EventTable

CALIBRATED = Calibration(training_prior=0.5)


def evaluated(share, events=4000, seed=0):
    """Events whose probabilities of a neutrino hold at equal priors, of which a share has one."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, 20 * events)
    given = 1 / (1 + np.exp(-odds))
    there = rng.random(len(given)) < given
    chosen = np.concatenate(
        [
            rng.permutation(np.flatnonzero(there))[: round(share * events)],
            rng.permutation(np.flatnonzero(~there))[: round((1 - share) * events)],
        ]
    )
    given, there = given[chosen], there[chosen]
    counts = np.zeros((events, 1, 3, 3), np.int64)
    counts[:, 0, 2, 2] = np.where(there, 20, 0)
    scores = np.stack([given / 2, given / 4, given / 4, 1 - given], axis=1)
    table = EventTable(np.arange(events), np.zeros(events, np.float32), counts, scores)
    empty = np.zeros((events, 1))
    pixels = np.zeros((events, 15, 3))
    pixels[:, 3] = 1, 0, 0.2
    return table, EventDetails(empty, empty, empty, np.zeros(events), reliability=pixels, class_scores=scores)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_calibrated_probabilities_hold_whatever_the_share_of_the_evaluation(share):
    sets = reliabilities(*evaluated(share), CALIBRATED, 50, 0)
    assert set(sets) == {"events", "pixels"}
    assert sets["events"].error < 0.03
    assert sets["pixels"].error == pytest.approx(0.2) and sets["pixels"].lacks == "none is true"
    assert describe_reliabilities(sets)["events"]["error"] == sets["events"].error


def test_the_numbers_in_the_bins_are_those_of_readouts():
    table, details = evaluated(0.2, 40)
    assert sum(each.number for each in reliabilities(table, details, CALIBRATED, 0, 0)["events"].bins) == 40


def test_of_weights_without_a_calibration_readouts_count_as_they_are():
    assert reliabilities(*evaluated(0.2), Calibration(), 0, 0)["events"].error > 0.1


def test_a_network_without_the_head_has_pixels_alone():
    table, details = evaluated(0.5, 40)
    bare = EventDetails(
        *(getattr(details, name) for name in ("neutrino_pixels", "mean_rows", "spread_rows")),
        details.true_pixels,
        reliability=details.reliability,
    )
    assert set(reliabilities(table, bare, CALIBRATED, 0, 0)) == {"pixels"}
