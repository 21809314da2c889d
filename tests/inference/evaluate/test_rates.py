"""Shares of readouts, with intervals, and purity."""

import numpy as np
import pytest

from cosmictagger_tf.inference.evaluate.rates import Rate, purity_at


def test_the_share_of_no_events_is_none():
    assert Rate.of(np.zeros(0, bool)) is None
    assert Rate.of(np.zeros(5, bool)) == pytest.approx((5, 0.0, 0.0, 0.4345), abs=1e-4)


def test_purity_is_bayes_theorem_and_its_ends_take_the_worst_of_both():
    efficiency, kept = Rate(100, 0.8, 0.7, 0.9), Rate(100, 0.02, 0.01, 0.05)
    purity = purity_at(0.1, efficiency, kept)
    assert purity.purity == pytest.approx(0.08 / (0.08 + 0.018))
    assert purity.low == pytest.approx(0.07 / (0.07 + 0.045))
    assert purity.high == pytest.approx(0.09 / (0.09 + 0.009))
    assert purity_at(1.0, efficiency, kept).purity == 1
    assert purity_at(1e-4, efficiency, kept).purity < 0.005


def test_no_purity_where_nothing_is_known_or_kept():
    some, nothing = Rate(100, 0.02, 0.01, 0.05), Rate(9, 0.0, 0.0, 0.3)
    assert purity_at(0.1, None, some) is None and purity_at(0.1, some, None) is None
    assert purity_at(0.1, nothing, nothing) is None
    assert purity_at(0.1, some, nothing).purity == 1 > purity_at(0.1, some, nothing).low
    assert purity_at(0.1, nothing, some).purity == 0
    assert purity_at(1.0, nothing, some) is None


def test_the_interval_of_a_purity_holds_the_true_one():
    rng, prior, true = np.random.default_rng(2), 0.2, (0.6, 0.05)
    expected = prior * true[0] / (prior * true[0] + (1 - prior) * true[1])
    inside = 0
    for _ in range(300):
        efficiency, kept = (Rate.of(rng.random(200) < rate) for rate in true)
        purity = purity_at(prior, efficiency, kept)
        inside += purity.low <= expected <= purity.high
    assert inside >= 0.9 * 300
