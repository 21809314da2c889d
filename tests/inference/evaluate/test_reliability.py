"""Whether probabilities are probabilities: bins, the error and its interval against known ones."""

import numpy as np
import pytest

from cosmictagger_tf.inference.evaluate.confidence import wilson
from cosmictagger_tf.inference.evaluate.reliability import BINS, reliability, reliability_sums


def events(probabilities, truth):
    return reliability_sums(probabilities, truth, np.arange(len(probabilities)), len(probabilities))


def test_bins_hold_what_was_given_their_probability():
    sums = events(np.array([0.0, 0.03, 0.5, 0.5, 1.0]), np.array([False, False, True, False, True]))
    assert sums.shape == (5, BINS, 3)
    result = reliability(sums, drawings=0)
    shown = [(b.number, b.readouts, b.predicted, b.true) for b in result.bins]
    assert shown == [(2, 2, pytest.approx(0.015), 0.0), (2, 2, 0.5, 0.5), (1, 1, 1.0, 1.0)]
    assert (result.bins[0].first, result.bins[-1].last) == (0.0, 1.0)
    assert (result.bins[1].low, result.bins[1].high) == wilson(0.5, 2)
    assert result.error == pytest.approx((0.03 + 0 + 0) / 5) and result.interval is None and not result.lacks


@pytest.mark.parametrize("trials", range(1, 60))
def test_a_share_is_in_its_interval_at_the_ends_too(trials):
    """There rounding would leave it outside by a billionth of a billionth."""
    for share in (0.0, 0.5, 1.0):
        low, high = wilson(share, trials)
        assert 0 <= low <= share <= high <= 1 and low < high


def test_calibrated_events_have_an_error_of_chance_alone():
    """Over 40 sets the interval reaches down to nearly nothing, and the bins' intervals hold the truth in 95 %."""
    held, bins, low = 0, 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        probabilities = rng.uniform(size=400)
        result = reliability(events(probabilities, rng.uniform(size=400) < probabilities), 200)
        held += sum(b.low <= b.predicted <= b.high for b in result.bins)
        bins += len(result.bins)
        low.append(result.interval[0])
        assert result.error < 0.12
    assert 0.92 <= held / bins <= 0.99
    assert np.median(low) < 0.01


def test_a_known_error_lies_in_its_interval():
    """Of what is given p, p - 0.15 is true."""
    covered = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        probabilities = rng.uniform(0.2, 1.0, size=600)
        result = reliability(events(probabilities, rng.uniform(size=600) < probabilities - 0.15), 200)
        covered.append(result.interval[0] <= 0.15 <= result.interval[1])
    assert np.mean(covered) >= 0.85


def test_pixels_count_by_the_readout_that_they_are_of():
    """A thousand pixels of each readout that are all true or all false tell as much as one."""
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(size=50)
    truth = rng.uniform(size=50) < probabilities
    pixels = reliability_sums(
        np.repeat(probabilities, 1000), np.repeat(truth, 1000), np.repeat(np.arange(50), 1000), 50
    )
    one, many = reliability(events(probabilities, truth)), reliability(pixels)
    assert many.error == pytest.approx(one.error) and many.interval == pytest.approx(one.interval)
    for few, a in zip(one.bins, many.bins, strict=True):
        assert a.number == 1000 * few.number and a.readouts == few.readouts == few.number
        assert (a.low, a.high) == pytest.approx((few.low, few.high))


def test_batches_are_concatenated():
    rng = np.random.default_rng(1)
    probabilities, readouts = rng.uniform(size=300), rng.integers(0, 6, 300)
    truth = rng.uniform(size=300) < probabilities
    parts = [
        reliability_sums(probabilities[chosen], truth[chosen], readouts[chosen] - first, 3)
        for first in (0, 3)
        for chosen in [(readouts >= first) & (readouts < first + 3)]
    ]
    np.testing.assert_allclose(np.concatenate(parts), reliability_sums(probabilities, truth, readouts, 6))


@pytest.mark.parametrize(
    "truth,lacks", [([], "none is there"), ([False, False], "none is true"), ([True, True], "none is false")]
)
def test_what_the_set_lacks_is_named(truth, lacks):
    result = reliability(events(np.full(len(truth), 0.5), np.array(truth, bool)))
    assert result.lacks == lacks and bool(result.bins) == bool(truth)
    assert np.isnan(result.error) == (not truth) and (result.interval is None) == (not truth)


def test_readouts_without_a_pixel_do_no_harm():
    """Nor does a drawing in which none has one."""
    result = reliability(reliability_sums(np.array([0.2]), np.array([True]), np.array([1]), 3), 200)
    assert result.error == pytest.approx(0.8) and np.isfinite(result.interval).all()
    assert result.bins[0].readouts == 1


@pytest.mark.parametrize("wrong", [-0.1, 1.01, np.nan])
def test_only_probabilities(wrong):
    with pytest.raises(ValueError, match="a probability is not from 0 to 1"):
        events(np.array([0.5, wrong]), np.array([True, False]))
