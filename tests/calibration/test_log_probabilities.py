"""Logarithms of probabilities: those of the probabilities, on the host and on the device, and exact at their ends."""

import numpy as np
import pytest
from keras import ops

from cosmictagger_tf.calibration.log_probabilities import calibrated_log_has_neutrino, calibrated_log_pixels
from cosmictagger_tf.calibration.probabilities import (
    event_probabilities,
    neutrino_probability,
    pixel_probabilities,
    prior_offsets,
)
from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint

FITTED = Calibration(1.3, 0.9, 0.7, None, WorkingPoint(-0.3, 0.4), WorkingPoint(-0.1, -1.5, 0.92))


@pytest.mark.parametrize("backend", [np, ops])
def test_they_are_the_logarithms(backend):
    rng = np.random.default_rng(0)
    pixels, events = rng.normal(0, 3, (5, 2, 40, 3)), rng.normal(0, 2, (5, 4))
    offsets = prior_offsets(0.7, 0.5)
    has, has_not = calibrated_log_has_neutrino(events, 1.3, offsets, backend)
    expected = neutrino_probability(event_probabilities(events, 1.3, offsets))
    np.testing.assert_allclose(np.exp(has), expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(has_not), 1 - expected, rtol=1e-5)
    for given, logs in ((1.0, None), (expected[:, None, None], (has[:, None, None], has_not[:, None, None]))):
        logarithms = calibrated_log_pixels(pixels, 0.9, logs, backend)
        np.testing.assert_allclose(np.exp(logarithms), pixel_probabilities(pixels, given, 0.9), rtol=1e-4, atol=1e-7)


def test_a_point_on_the_device_is_that_on_the_host():
    rng = np.random.default_rng(1)
    pixels, events = rng.normal(0, 3, (4, 3, 50, 3)).astype("float32"), rng.normal(0, 2, (4, 4)).astype("float32")
    for point in (FITTED.pixels, FITTED.selection):
        for given in (None, events):
            host = FITTED.at_point(point, pixels, given)
            np.testing.assert_allclose(FITTED.at_point(point, pixels, given, ops), host, atol=1e-4)
            probabilities = FITTED.pixel_probabilities(pixels, given, 0.5)
            np.testing.assert_allclose(host - point.shifts, np.log(probabilities), atol=1e-9)
            np.testing.assert_array_equal(FITTED.called(point, pixels, given), point.called(probabilities))


def test_what_is_certain_can_still_be_shifted():
    """A probability of 1 has no odds; its logits have."""
    pixels = np.array([[[0.0, 0.0, 50.0]]])
    assert FITTED.called(WorkingPoint(neutrino_shift=-40.0), pixels).tolist() == [[2]]
    assert FITTED.called(WorkingPoint(neutrino_shift=-70.0), pixels).tolist() == [[0]]
