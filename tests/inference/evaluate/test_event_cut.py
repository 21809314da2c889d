"""The event cut of the reference's analysis, which is a cut as any other."""

import numpy as np

from cosmictagger_tf.config import EvaluateConfig
from cosmictagger_tf.config.cuts import parse_cuts
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.event_cut import apply_cut, event_cut


def test_the_event_cut_is_a_cut_with_the_values_of_its_flags():
    config = EvaluateConfig()
    cut = event_cut(config.event_cut_pixels, config.event_cut_rows)
    assert str(cut) == "pixels>5,rows<=50" and parse_cuts(str(cut)) == (cut,)


def test_each_condition_is_what_it_says():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 12, (500, 3))
    rows = np.where(pixels > 0, rng.integers(0, 60, (500, 3)), np.nan)
    cut = apply_cut(EventDetails(pixels, rows, rows, np.zeros(500)), 5, 50.0)
    np.testing.assert_array_equal(cut.enough, (pixels > 5).all(axis=1))
    difference = rows.max(axis=1) - rows.min(axis=1)
    np.testing.assert_array_equal(cut.difference, difference)
    np.testing.assert_array_equal(cut.matched, np.nan_to_num(difference, nan=np.inf) <= 50)
    np.testing.assert_array_equal(cut.passed, cut.enough & cut.matched)
    assert (difference == 50).any() and np.isnan(difference).any()
    details = EventDetails(pixels, rows, rows, np.zeros(500))
    np.testing.assert_array_equal(event_cut(5, 50.0).passed(details.quantities()), cut.passed)
