"""Temperatures: those of synthetic logits are recovered; data that cannot give one are refused in one line."""

import numpy as np
import pytest

from cosmictagger_tf.calibration.probabilities import CalibrationError, prior_offsets, softmax
from cosmictagger_tf.calibration.temperature import fit_event_temperature, fit_pixel_temperature

COSMIC_ONLY = 3


def drawn(probabilities, rng):
    """A class for each row, drawn with its probabilities."""
    return (rng.uniform(size=(len(probabilities), 1)) > probabilities.cumsum(axis=1)).sum(axis=1)


def readouts(number, share, seed=0):
    """Calibrated log-probabilities at a prior of `share`, and true classes."""
    rng = np.random.default_rng(seed)
    classes = np.where(rng.uniform(size=number) < share, rng.integers(0, 3, number), COSMIC_ONLY)
    # Gaussian scores of unit width about the corners of a simplex: their log-posterior is linear in them.
    logits = 2.0 * (rng.normal(size=(number, 4)) + 2.0 * np.eye(4)[classes])
    prior = np.array([share / 3] * 3 + [1 - share])
    return logits + np.log(prior), classes


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_a_known_temperature_is_recovered(temperature):
    logits, classes = readouts(20000, 0.7)
    fit = fit_event_temperature(logits * temperature, classes, 0.7)
    assert fit.temperature == pytest.approx(temperature, rel=0.03)
    assert fit.after <= fit.before and (temperature == 1.0 or fit.after < fit.before - 0.01)


def test_the_prior_of_the_validation_data_makes_no_difference():
    """Calibrated at 0.7, overconfident by 2; a validation set of 5 % neutrinos gives the same temperature."""
    logits, classes = readouts(30000, 0.05, seed=3)
    trained = 2.0 * (logits - prior_offsets(0.7, 0.05))
    assert fit_event_temperature(trained, classes, 0.7).temperature == pytest.approx(2.0, rel=0.03)
    # Not taken out, it would be another.
    assert abs(fit_event_temperature(trained, classes, 0.05).temperature - 2.0) > 0.1


@pytest.mark.parametrize("validation", [(0.2, 0.2, 0.6), (0.5, 0.5, 0.0)])
def test_the_kinds_of_the_validation_data_make_no_difference(validation):
    """Of a training with a tenth, seven tenths and a fifth of the kinds, calibrated; one kind may be missing."""
    logits, classes = readouts(40000, 0.5, seed=4)
    kinds = np.array([0.1, 0.7, 0.2])
    rng = np.random.default_rng(5)
    kept = (classes == COSMIC_ONLY) | (rng.uniform(size=len(classes)) < np.append(validation, 1.0)[classes])
    trained = (logits + np.log(np.append(3 * kinds, 1.0)))[kept]
    fit = fit_event_temperature(2.0 * trained, classes[kept], 0.5, tuple(kinds))
    assert fit.temperature == pytest.approx(2.0, rel=0.03)
    # Not taken out, it would be another.
    assert abs(fit_event_temperature(2.0 * trained, classes[kept], 0.5).temperature - 2.0) > 0.1


def test_the_temperature_is_the_minimum():
    logits, classes = readouts(500, 0.5)
    fit = fit_event_temperature(logits * 1.7, classes, 0.5)
    offsets = prior_offsets(0.5, float(np.mean(classes != COSMIC_ONLY)))

    def loss(t):
        return -np.log(softmax(logits * 1.7 / t + offsets)[np.arange(500), classes]).mean()

    assert fit.after == pytest.approx(loss(fit.temperature)) and fit.before == pytest.approx(loss(1.0))
    assert fit.after < min(loss(fit.temperature * 1.001), loss(fit.temperature / 1.001))


def test_pixels_and_how_many_each_stands_for():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(5000, 3)) * [1, 2, 1]
    labels = drawn(softmax(logits), rng)
    assert fit_pixel_temperature(logits * 3, labels).temperature == pytest.approx(3.0, rel=0.15)
    weights = rng.integers(0, 4, 5000)
    repeated = fit_pixel_temperature(np.repeat(logits, weights, axis=0), np.repeat(labels, weights))
    assert fit_pixel_temperature(logits, labels, weights).temperature == pytest.approx(repeated.temperature, rel=1e-8)


def test_what_is_unknown_is_left_out():
    logits, classes = readouts(1000, 0.6)
    more, unknown = np.concatenate([logits, np.full((10, 4), np.nan)]), np.concatenate([classes, np.full(10, -1)])
    assert fit_event_temperature(more, unknown, 0.6) == fit_event_temperature(logits, classes, 0.6)


def test_a_kind_that_the_data_lack_is_named(caplog):
    logits, classes = readouts(2000, 0.6)
    fit_event_temperature(logits[classes != 2], classes[classes != 2], 0.6)
    assert caplog.messages == ["temperature: fitted without nc: no such readout is in the data"]


@pytest.mark.parametrize(
    "classes,reason",
    [
        ([], "no readout whose class is known"),
        ([-1, -1], "no readout whose class is known"),
        ([0, 1, 1], "of 3 readouts none is without a neutrino"),
        ([3], "of 1 readout none is with a neutrino .*--producer_particle"),
        ([0, 3], "none fits 2 readouts: all are called rightly"),
    ],
)
def test_data_that_give_none_are_refused(classes, reason):
    logits = 5.0 * np.eye(4)[np.maximum(np.array(classes, int), 0)].reshape(-1, 4)
    with pytest.raises(CalibrationError, match=reason):
        fit_event_temperature(logits, np.array(classes, int), 0.5)


def test_logits_that_tell_nothing_are_refused():
    with pytest.raises(CalibrationError, match="none fits 3 pixels: the logits tell nothing"):
        fit_pixel_temperature(-np.eye(3), np.arange(3))
    with pytest.raises(CalibrationError, match="tell nothing"):
        fit_pixel_temperature(np.ones((6, 3)), np.arange(6) % 3)


def test_a_logit_that_is_not_finite_is_refused():
    with pytest.raises(CalibrationError, match="1 of 2 pixels"):
        fit_pixel_temperature(np.array([[0, 1, np.inf], [0, 0, 1]]), np.array([1, 2]))
