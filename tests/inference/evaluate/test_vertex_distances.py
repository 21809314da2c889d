"""How far predicted vertices are from the true ones."""

import numpy as np
import pytest

from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.geometry import PIXEL_CM
from cosmictagger_tf.inference.evaluate.vertex_distances import (
    distances,
    summary,
    true_points,
    true_x_distances,
)

PLANES = 3


def test_a_plane_counts_where_it_has_a_true_vertex():
    predicted = np.full((4, PLANES, 2), 10.0)
    predicted[0, 1] = np.nan
    one = np.full((1, PLANES, 2), (13.0, 14.0))
    one[0, 2] = np.nan
    away = distances(predicted, [one, np.zeros((0, PLANES, 2)), None, one + 3.0])
    np.testing.assert_array_equal(away[0], [5.0, np.inf, np.nan])
    assert np.isnan(away[1:3]).all()
    np.testing.assert_allclose(away[3], [np.hypot(6, 7), np.hypot(6, 7), np.nan])


def test_of_several_vertices_the_nearest_counts_on_each_plane():
    predicted = np.zeros((1, PLANES, 2))
    several = np.array([[(3.0, 4.0), (1.0, 0.0), (np.nan, np.nan)], [(0.0, 2.0), (6.0, 8.0), (0.0, 7.0)]])
    np.testing.assert_array_equal(distances(predicted, [several]), [[2.0, 1.0, 7.0]])
    np.testing.assert_array_equal(distances(np.full_like(predicted, np.nan), [several]), [[np.inf] * 3])


def test_pixels_have_a_size():
    predicted, true = np.zeros((1, 1, 2)), [np.array([[(4.0, 10.0)]])]
    np.testing.assert_allclose(distances(predicted, true, PIXEL_CM), [[np.hypot(1.25, 3.0)]])


def test_points_are_compared_in_the_detector():
    predicted = np.array([(1.0, 2.0, 3.0), (np.nan,) * 3, (0.0, 0.0, 0.0)])
    true = [np.array([(1.0, 2.0, 9.0), (1.0, 5.0, 7.0)]), np.zeros((1, 3)), np.zeros((0, 3))]
    np.testing.assert_array_equal(distances(predicted, true), [5.0, np.inf, np.nan])


def test_true_points_are_the_apparent_ones_in_the_active_volume():
    neutrinos = [Neutrino(1.0, 14, 0, vertex=(x, 20.0, 30.0, 5.0)) for x in (-100.0, 230.0, 0.3)]
    np.testing.assert_allclose(true_points(neutrinos), [(-99.2, 20.0, 30.0), (0.0, 20.0, 30.0)])
    assert true_points(()).shape == (0, 3)
    assert true_points(None) is None and true_points([*neutrinos, Neutrino(1.0, 14, 0)]) is None


def test_the_true_x_is_compared_without_the_mean_time():
    """4 and 6 us late instead of 5: 1.6 mm too far, and too near."""
    neutrinos = [Neutrino(1.0, 14, 0, vertex=(x, 0.0, 9.0, t)) for x, t in ((-50.0, 4.0), (50.0, 6.0))]
    points = np.concatenate([true_points([neutrino]) for neutrino in neutrinos])
    none = [None, Neutrino(1.0, 14, 0), Neutrino(1.0, 14, 0, vertex=(-50.0, 0.0, 501.0, 4.0))]
    more = np.concatenate([points, np.repeat(points[:1], 3, axis=0), np.full((1, 3), np.nan)])
    away = true_x_distances(more, [*neutrinos, *none, neutrinos[0]], mean_time=5.0)
    np.testing.assert_allclose(away, [0.16, 0.16, *[np.nan] * 3, np.inf])


def test_the_summary_of_planes():
    away = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0], [np.nan] * 3, [6.0, np.inf, np.nan]])
    short = summary(away, drawings=0, seed=0)
    assert (short.events, short.median, short.quantile_68, short.near) == (3, 4.0, 5.0, 5 / 7)
    assert np.isnan([short.median_interval, short.quantile_68_interval]).all()
    # Of 3 trials, though there are 7 planes.
    assert short.near_interval == pytest.approx((0.2347, 0.9532), abs=1e-4)
    assert summary(away[:, 0], 0, 0).median == 3.0


def test_a_summary_of_nothing_is_not_a_number():
    for away in (np.zeros(0), np.zeros((0, PLANES)), np.full((5, PLANES), np.nan)):
        short = summary(away, 100, 0)
        assert short.events == 0
        assert np.isnan([short.median, short.quantile_68, short.near, *short.median_interval]).all()
        assert np.isnan([*short.quantile_68_interval, *short.near_interval]).all()


def test_intervals_come_from_events_drawn_again():
    """About 95 % of 400 samples have the true median within their interval; all planes of an event are alike."""
    rng = np.random.default_rng(1)
    inside = []
    for seed in range(400):
        away = np.repeat(rng.exponential(size=(100, 1)), PLANES, axis=1)
        low, high = summary(away, 200, seed).median_interval
        inside.append(low <= np.log(2) <= high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_intervals_depend_on_the_seed_and_may_be_infinite():
    away = np.array([1.0, 2.0, 2.5, 3.0, np.inf, np.inf, np.inf])
    short = summary(away, 300, seed=4)
    assert short == summary(away, 300, seed=4)
    assert (short.median, short.quantile_68) == (3.0, np.inf)
    assert short.quantile_68_interval[0] < short.quantile_68_interval[1] == np.inf
    many = np.arange(200.0)
    assert summary(many, 300, seed=4).median_interval != summary(many, 300, seed=5).median_interval
    assert np.isnan(summary(away[:1], 300, seed=4).median_interval).all()
