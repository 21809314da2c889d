"""What is stored beside weights: read, written, checked; weights of before mean what they did; thresholds."""

import json

import numpy as np
import pytest

from cosmictagger_tf.calibration.probabilities import CalibrationError, pixel_probabilities, softmax
from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.vertex_fit import VertexErrors

ERRORS = VertexErrors((1.5, 2.0, 1.0), (2.5, 1.5, 3.0), (0.0, 0.1, 0.2))
FITTED = Calibration(1.3, 0.9, 0.7, (0.2, 0.5, 0.3), WorkingPoint(-0.3), WorkingPoint(-0.1, -1.5, 0.92), ERRORS)


def test_a_calibration_comes_back_from_json():
    assert Calibration.from_dict(json.loads(json.dumps(FITTED.to_dict()))) == FITTED
    assert Calibration.of_weights({"calibration": FITTED.to_dict(), "step": 3}) == FITTED
    assert Calibration.from_dict({}) == Calibration()


def test_weights_of_before_mean_what_they_did():
    """Softmax of the logits, with the shift in the background's bias; no readout is rejected."""
    before = Calibration.of_weights({"background_shift": -0.3, "step": 3400})
    logits = np.random.default_rng(0).normal(size=(2, 3, 500, 3))
    scores = before.pixel_probabilities(logits)
    np.testing.assert_allclose(scores, softmax(logits), rtol=1e-13)
    for point in (before.pixels, before.selection):
        np.testing.assert_array_equal(point.called(scores), np.argmax(logits + [-0.3, 0, 0], axis=-1))
        assert point.keeps(np.array([0.0, 1.0])).all()
    assert Calibration.of_weights({}) == Calibration()


def test_a_point_that_is_not_joined_calls_pixels_as_if_there_were_a_neutrino():
    logits, event = np.array([[[0.0, 0.0, 3.0]]]), np.array([[-4.0, -4.0, -4.0, 4.0]])
    joined, apart = WorkingPoint(), WorkingPoint(joined=False)
    assert [FITTED.called(point, logits, event)[0, 0] == 2 for point in (joined, apart)] == [False, True]
    assert Calibration.from_dict(Calibration(pixels=apart).to_dict()).pixels == apart


def test_readouts_are_called_as_if_all_classes_were_as_likely():
    """A class that the training saw seldom is called where its likelihood is the greatest."""
    likelihoods = np.array([[0.2, 0.2, 0.5, 0.1], [0.1, 0.1, 0.2, 0.6], [0.4, 0.3, 0.2, 0.1]])
    priors = np.array([0.18, 0.66, 0.06, 0.1])
    logits = np.log(likelihoods * priors)
    assert Calibration().class_probabilities(logits).argmax(axis=1).tolist() == [1, 1, 1]
    assert Calibration(training_prior=0.9).class_probabilities(logits).argmax(axis=1).tolist() == [1, 3, 1]
    known = Calibration(training_prior=0.9, training_kinds=tuple((priors[:3] / 0.9).tolist()))
    np.testing.assert_allclose(known.class_probabilities(logits), likelihoods, rtol=1e-9)


def test_frozen():
    with pytest.raises(AttributeError):
        FITTED.selection.event_probability = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    "record,reason",
    [
        ({"temperature": 1}, "has no temperature .*newer version"),
        ({"pixels": {"shift": 1}}, "has no shift"),
        ({"pixels": -0.3}, "-0.3 is no WorkingPoint"),
        ([1.0], "is no Calibration"),
        ({"event_temperature": 0}, "event_temperature 0: must be from 0.001 to 1000"),
        ({"pixel_temperature": float("nan")}, "pixel_temperature nan: must be a finite number"),
        ({"event_temperature": "1"}, "must be a finite number"),
        ({"training_prior": 1.0}, "no readout without a neutrino"),
        ({"training_prior": "0.5"}, "training_prior '0.5': must be a finite number"),
        ({"training_kinds": [0.2, 0.5, 0.3]}, "training_kinds: need training_prior"),
        ({"training_prior": 0.5, "training_kinds": 0.3}, "training_kinds 0.3: must be 3 numbers above 0 that sum to 1"),
        ({"training_prior": 0.5, "training_kinds": [0.4, 0.6]}, "must be 3 numbers"),
        ({"training_prior": 0.5, "training_kinds": [0.4, 0.6, 0.0]}, "above 0"),
        ({"training_prior": 0.5, "training_kinds": [0.4, 0.6, "a"]}, "above 0"),
        ({"selection": {"event_probability": 1.5}}, "event_probability 1.5: must be from 0 to 1"),
        ({"pixels": {"joined": 1}}, "joined 1: must be true or false"),
        ({"selection": {"event_probability": 0.5}}, "needs training_prior"),
        ({"pixels": {"neutrino_shift": float("inf")}}, "neutrino_shift inf"),
        ({"vertex_errors": [1.0]}, "is no VertexErrors"),
        ({"vertex_errors": {"rows": [1.0]}}, "vertex_errors .*missing .*'columns'"),
        ({"vertex_errors": {"rows": [1.0], "columns": [1.0, 2.0]}}, "vertex_errors .*one a plane"),
        ({"vertex_errors": {"rows": [1.0], "columns": [0.0]}}, "vertex_errors .*above 0"),
        ({"vertex_errors": {"rows": [1.0], "columns": [1.0], "shared": [1, -1, 1]}}, "vertex_errors .*not below 0"),
    ],
)
def test_what_is_wrong_is_one_line(record, reason):
    with pytest.raises(CalibrationError, match=reason):
        Calibration.from_dict(record)


def test_a_prior_needs_that_of_the_training():
    logits = np.zeros((1, 4))
    np.testing.assert_allclose(Calibration().event_probabilities(logits), 0.25)
    with pytest.raises(CalibrationError, match=r"prior 0.1: cannot be put in"):
        Calibration().event_probabilities(logits, 0.1)
    trained = Calibration(training_prior=0.75)
    np.testing.assert_allclose(trained.event_probabilities(logits, 0.1), [[0.1 / 3] * 3 + [0.9]])


def test_pixels_are_multiplied_by_their_own_readout():
    rng = np.random.default_rng(4)
    pixels, events = rng.normal(size=(2, 3, 7, 3)), rng.normal(size=(2, 4))
    joined = FITTED.pixel_probabilities(pixels, events, prior=0.2)
    has_neutrino = 1 - FITTED.event_probabilities(events, 0.2)[:, 3]
    for i in range(2):
        np.testing.assert_allclose(joined[i], pixel_probabilities(pixels[i], has_neutrino[i], 0.9), rtol=1e-12)
    flat = FITTED.pixel_probabilities(pixels[:, 0, 0], events, prior=0.2)
    np.testing.assert_allclose(flat, joined[:, 0, 0], rtol=1e-13)


def test_a_shift_is_a_threshold_on_odds():
    point = WorkingPoint(neutrino_shift=-np.log(4))
    assert point.called([[0.0, 0.21, 0.79], [0.0, 0.19, 0.81], [1.0, 0.0, 0.0]]).tolist() == [1, 2, 0]
    # A shift beyond what exp can hold is as good as never.
    assert WorkingPoint(neutrino_shift=-2000.0, background_shift=900.0).called([[0.1, 0.2, 0.7]]).tolist() == [0]


def test_a_readout_is_kept_above_the_threshold():
    assert FITTED.selection.keeps(np.array([0.92, 0.9200001, 1.0, 0.0])).tolist() == [False, True, True, False]


def test_a_point_acts_at_equal_priors():
    """A readout of even odds at a training prior of 0.7, and one whose odds there are those of the prior."""
    event_logits = np.log([[0.2, 0.2, 0.1, 0.5], [0.3, 0.3, 0.1, 0.3]])
    trained = Calibration(training_prior=0.7)
    at_equal = [1 / (1 + 7 / 3), 0.5]
    for threshold in (0.2, 0.4, 0.6):
        kept = trained.kept(WorkingPoint(event_probability=threshold), event_logits)
        assert kept.tolist() == [p > threshold for p in at_equal]
    # A pixel that is surely neutrino, if the readout has one.
    pixels = np.log(np.tile([0.001, 0.009, 0.99], (2, 5, 1)))
    assert trained.called(WorkingPoint(), pixels, event_logits).tolist() == [[1] * 5, [2] * 5]
    assert trained.called(WorkingPoint(neutrino_shift=-0.1), pixels, event_logits).tolist() == [[1] * 5, [1] * 5]
    assert trained.called(WorkingPoint(), pixels).tolist() == [[2] * 5] * 2


def test_points_of_weights_whose_prior_is_not_known_act_at_that_of_the_training():
    event_logits = np.log([[0.3, 0.3, 0.1, 0.3], [0.1, 0.1, 0.1, 0.7]])
    pixels = np.log(np.tile([0.001, 0.009, 0.99], (2, 5, 1)))
    assert Calibration().called(WorkingPoint(), pixels, event_logits).tolist() == [[2] * 5, [1] * 5]
    assert Calibration().kept(WorkingPoint(), event_logits).all()
