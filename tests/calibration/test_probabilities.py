"""Probabilities: Bayes' numbers exactly, pixels and readouts joined, and never not a number."""

import numpy as np
import pytest

from cosmictagger_tf.calibration.probabilities import (
    CalibrationError,
    event_probabilities,
    neutrino_probability,
    pixel_probabilities,
    prior_offsets,
)


def test_a_moved_prior_gives_bayes_numbers():
    """A likelihood ratio of 3 for a neutrino: odds of 3 at 1 to 1, of 3 / 99 at 1 to 99."""
    trained = np.array([0.3, 0.6, 0.3, 0.4]) / 1.6  # at a prior of one half: odds of 1.2 to 0.4
    moved = event_probabilities(np.log(trained), offsets=prior_offsets(0.5, 0.01))
    assert neutrino_probability(moved) == pytest.approx(3 / (3 + 99), rel=1e-14)
    assert moved[:3] / moved[0] == pytest.approx([1, 2, 1], rel=1e-14)


@pytest.mark.parametrize("training,prior", [(0.7, 0.02), (0.3, 0.999), (0.5, 0.5)])
def test_the_law_of_total_probability(training, prior):
    """Of known densities: the posterior at the training's prior is moved to that at the experiment's."""
    rng = np.random.default_rng(0)
    density = rng.uniform(0.1, 2.0, (50, 4))

    def posterior(share):
        joint = density * np.array([share * 0.5, share * 0.3, share * 0.2, 1 - share])
        return joint / joint.sum(axis=1, keepdims=True)

    logits = np.log(posterior(training)) + rng.normal(size=(50, 1))
    np.testing.assert_allclose(
        event_probabilities(logits, offsets=prior_offsets(training, prior)), posterior(prior), rtol=1e-13
    )


def test_a_prior_of_0_or_1_is_certain_whatever_the_logits():
    logits = np.array([[900.0, 0.0, -3.0, -900.0], [-900.0, -900.0, -900.0, 900.0]])
    none, all_have = (event_probabilities(logits, offsets=prior_offsets(0.6, prior)) for prior in (0.0, 1.0))
    np.testing.assert_array_equal(none, [[0, 0, 0, 1]] * 2)
    np.testing.assert_array_equal(all_have[:, 3], 0)
    np.testing.assert_allclose(all_have[1], [1 / 3, 1 / 3, 1 / 3, 0])


@pytest.mark.parametrize("share,reason", [(1.0, "no readout without a neutrino"), (0.0, "no readout with a neutrino")])
def test_a_training_of_one_sort_can_be_given_no_other_prior(share, reason):
    with pytest.raises(CalibrationError, match=reason):
        prior_offsets(share, 0.1)


@pytest.mark.parametrize("training,prior", [(0.5, -0.1), (0.5, 1.5), (0.5, np.nan), (-1.0, 0.5), (np.nan, 0.5)])
def test_what_is_no_share_is_refused(training, prior):
    with pytest.raises(CalibrationError, match=r"must be between 0 and 1|from 0 to 1"):
        prior_offsets(training, prior)


def test_probabilities_sum_to_1_and_small_ones_keep_their_digits():
    logits = np.random.default_rng(1).normal(0, 200, (100, 4)).astype(np.float32)
    probabilities = event_probabilities(logits, 0.7, prior_offsets(0.7, 1e-4))
    assert probabilities.dtype == np.float64 and ((probabilities >= 0) & (probabilities <= 1)).all()
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-14)
    assert neutrino_probability(event_probabilities(np.array([0.0, 0.0, 0.0, 60.0]))) == pytest.approx(3 * np.exp(-60))


def test_rounding_makes_no_probability_beyond_1():
    """Of a neutrino that is certain: three kinds whose probabilities sum to 1 but for rounding."""
    logits = np.random.default_rng(2).normal(size=(10000, 4))
    has_neutrino = neutrino_probability(event_probabilities(logits, offsets=prior_offsets(0.5, 1.0)))
    assert has_neutrino.max() == 1 and has_neutrino.min() > 1 - 1e-15
    joined = pixel_probabilities(logits[:, :3], has_neutrino)
    assert ((joined >= 0) & (joined <= 1)).all()
    np.testing.assert_allclose(joined.sum(axis=-1), 1, rtol=1e-14)


def test_a_training_of_nearly_one_sort_still_gives_numbers():
    for training, prior in ((5e-324, 1.0), (np.nextafter(1, 0), 0.0), (5e-324, 0.5)):
        assert np.isfinite(event_probabilities(np.zeros(4), offsets=prior_offsets(training, prior))).all()


def test_no_readouts_give_no_probabilities():
    assert event_probabilities(np.zeros((0, 4))).shape == (0, 4)
    assert pixel_probabilities(np.zeros((0, 3, 0, 3)), np.zeros((0, 1, 1))).shape == (0, 3, 0, 3)


def test_a_logit_that_is_not_finite_is_named_not_passed_on():
    logits = np.zeros((3, 4))
    logits[1, 2] = np.nan
    with pytest.raises(CalibrationError, match="1 of 3 readouts have a logit that is not finite"):
        event_probabilities(logits)
    with pytest.raises(CalibrationError, match="2 of 2 pixels have"):
        pixel_probabilities(np.full((2, 3), -np.inf))


def test_a_pixel_is_neutrino_where_it_is_one_and_the_readout_has_one():
    given = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    joined = pixel_probabilities(np.log(given), np.array([0.4, 0.0]))
    np.testing.assert_allclose(joined, [[0.8 * 0.4, 0.8 * 0.6, 0.2], [0.5, 0.5, 0.0]], rtol=1e-14)
    np.testing.assert_allclose(pixel_probabilities(np.log(given)), given, rtol=1e-14)


def test_pixels_that_are_certain_stay_numbers():
    logits = np.array([[-2000.0, -2000.0, 2000.0], [2000.0, -2000.0, -2000.0]])
    joined = pixel_probabilities(logits, 0.25, 0.5)
    np.testing.assert_array_equal(joined, [[0.375, 0.375, 0.25], [1, 0, 0]])


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_only_a_probability_multiplies_pixels(wrong):
    with pytest.raises(CalibrationError, match="from 0 to 1"):
        pixel_probabilities(np.zeros((1, 3)), wrong)
