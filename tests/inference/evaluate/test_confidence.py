"""What 95 % intervals are made of."""

import numpy as np
import pytest

from cosmictagger_tf.inference.evaluate.confidence import drawn_events, wilson


def test_wilsons_interval_at_the_ends_and_in_the_middle():
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson(1.0, 10) == pytest.approx((0.72247, 1.0), abs=1e-5)
    assert wilson(0.5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert np.isnan(wilson(float("nan"), 0)).all()


def test_each_drawing_has_as_many_events():
    parts = list(drawn_events(7, 300, seed=3))
    drawn = np.concatenate(parts)
    assert len(parts) > 1 and drawn.shape == (300, 7) and (drawn.sum(axis=1) == 7).all()
    assert drawn.mean(axis=0) == pytest.approx(1.0, abs=0.2)
    np.testing.assert_array_equal(drawn, np.concatenate(list(drawn_events(7, 300, seed=3))))
    assert not list(drawn_events(7, 0, seed=3))
