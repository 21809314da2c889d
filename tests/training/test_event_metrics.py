"""Measures of the heads against plain NumPy, and that no order of the events changes their sums."""

import numpy as np
import pytest

from cosmictagger_tf.detector import EVENT_CLASS_NAMES
from cosmictagger_tf.training.event_metrics import EventMetrics, class_counts, event_measures, vertex_measures

RNG = np.random.default_rng(3)
EVENTS = 12
CLASSES = RNG.integers(-1, 4, EVENTS).astype(np.int32)
LOGITS = RNG.normal(size=(EVENTS, 4)).astype(np.float32)
HEAD = RNG.uniform(size=(EVENTS, 3, 4, 6, 3)).astype(np.float32)
VERTICES = RNG.uniform(0, (16, 24), size=(EVENTS, 2, 3, 2)).astype(np.float32)
VERTICES[[1, 5], :, 2] = VERTICES[6:, 1] = -1
# Some cells are right.
for event in range(6):
    row, column = (VERTICES[event, event % 2, 0] // 4).astype(int)
    HEAD[event, 0, row, column, 0] = 1.5


def measured():
    return {"class_counts": class_counts(CLASSES, LOGITS), **vertex_measures(HEAD, VERTICES, 4)}


def test_counts_of_classes():
    expected = np.zeros((4, 4), int)
    for true, predicted in zip(CLASSES, LOGITS.argmax(axis=1), strict=True):
        if true >= 0:
            expected[true, predicted] += 1
    np.testing.assert_array_equal(np.sum(measured()["class_counts"], axis=0), expected)
    assert 0 < (CLASSES < 0).sum() == EVENTS - expected.sum()


def test_accuracy_at_equal_priors_takes_each_class_that_there_is_once():
    values = event_measures([[8, 2, 0, 0], [0, 0, 0, 0], [0, 5, 5, 0], [1, 0, 0, 0]])
    assert values["event_accuracy"] == pytest.approx(13 / 21)
    assert values["event_balanced_accuracy"] == pytest.approx((0.8 + 0.5 + 0) / 3)
    assert all(np.isnan(value) for value in event_measures(np.zeros((4, 4))).values())


def test_vertices():
    values = {name: np.asarray(value) for name, value in vertex_measures(HEAD, VERTICES, 4, (2.0, 0.5)).items()}
    for event, plane in np.ndindex(EVENTS, 3):
        cell = np.unravel_index(HEAD[event, plane, ..., 0].argmax(), (4, 6))
        vertices = [vertex for vertex in VERTICES[event, :, plane] if vertex[0] >= 0]
        away = [(cell + HEAD[event, plane][cell][1:]) * 4 - vertex for vertex in vertices]
        assert values["there"][event, plane] == bool(vertices)
        assert values["right"][event, plane] == any((vertex // 4 == cell).all() for vertex in vertices)
        expected = min([np.hypot(2 * rows, columns / 2) for rows, columns in away], default=0)
        assert values["distance"][event, plane] == pytest.approx(expected, rel=1e-5)
    assert values["right"].sum() >= 6


def test_sums_are_exact_and_leave_fillers_out():
    whole, weights = measured(), np.ones(EVENTS, np.float32)
    whole = {name: np.asarray(value) for name, value in whole.items()}
    together, apart = EventMetrics(3), EventMetrics(3)
    together.update_state(whole, weights)
    for part in (slice(7, None), slice(7)):
        part = {name: value[part] for name, value in whole.items()}
        padded = {name: np.concatenate([value, value[:1] + 7]) for name, value in part.items()}
        apart.update_state(padded, np.float32([1] * len(part["there"]) + [0]))
    np.testing.assert_array_equal(apart.sums, together.sums)
    values = together.result()
    there = whole["there"].sum()
    assert values["vertex_cell"] == pytest.approx(whole["right"].sum() / there)
    assert values["vertex_distance"] == pytest.approx(whole["distance"].sum() / there, rel=1e-6)
    assert values["vertex_distance/plane2"] == pytest.approx(whole["distance"][:, 2].sum() / (EVENTS - 2), rel=1e-6)
    counts = [values[f"event_counts/{a}/{b}"] for a in EVENT_CLASS_NAMES for b in EVENT_CLASS_NAMES]
    assert counts == whole["class_counts"].sum(axis=0).ravel().tolist()


def test_a_distance_that_is_no_number_does_not_spoil_the_counts():
    metrics = EventMetrics(3)
    metrics.update_state(vertex_measures(np.full_like(HEAD, np.nan), VERTICES, 4), np.ones(EVENTS, np.float32))
    values = metrics.result()
    assert values["vertex_distance"] > 1e9 and np.isnan(values["event_accuracy"])


class OtherRank:
    """The ranks of a job, whose other one has summed the same."""

    def __init__(self, rank):
        self.rank = rank

    def sum(self, arrays):
        return [2 * array for array in arrays]


def test_ranks_add_up():
    metrics, alone = ([EventMetrics(3) for _ in range(2)], EventMetrics(3))
    for rank, each in enumerate(metrics):
        each.update_state(measured(), np.ones(EVENTS, np.float32))
        each.add_ranks(OtherRank(rank))
    for _ in range(2):
        alone.update_state(measured(), np.ones(EVENTS, np.float32))
    np.testing.assert_array_equal(metrics[0].sums, alone.sums)
    assert not np.any(metrics[1].sums)
