"""The vertex in the detector, from points that are projected onto the planes."""

import dataclasses

import numpy as np
import pytest

from cosmictagger_tf import geometry
from cosmictagger_tf.vertex_fit import VertexErrors, best_candidates, fit_errors, fit_points, places_of

ERRORS = VertexErrors(rows=(1.5, 2.0, 1.0), columns=(2.5, 1.5, 3.0))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def points_in_the_detector(rng, events):
    # Far enough from its faces for errors of some pixels.
    return rng.uniform(geometry.LOWER + 10, geometry.UPPER - 10, size=(events, 3))


def smeared(rng, points, errors):
    """Places with errors of each plane, and with those that all planes share."""
    points = points + rng.normal(size=points.shape) * errors.shared
    places = places_of(points)
    return places + rng.normal(size=places.shape) * errors.of_places


def width(values):
    return np.quantile(np.abs(values), 0.6827, axis=0)


def test_places_are_where_the_geometry_projects_points(rng):
    points = points_in_the_detector(rng, 50)
    projected = [geometry.project(point, 0.0) for point in points]
    np.testing.assert_allclose(places_of(points), projected, atol=1e-9)


def test_a_point_is_found_again_from_its_places(rng):
    points = points_in_the_detector(rng, 50)
    times = rng.uniform(0, 9, 50)
    places = np.array([geometry.project(point, time) for point, time in zip(points, times, strict=True)])
    fit = fit_points(places, ERRORS)
    np.testing.assert_allclose(fit.points, geometry.apparent(points, times), atol=1e-9)
    assert (fit.degrees == 3).all() and fit.chi_squares.max() < 1e-15 and fit.probabilities.min() > 1 - 1e-9


@pytest.mark.parametrize("missing", [(), (0,), (1,), (2,)])
def test_pulls_and_chi_squares_are_those_of_the_errors(rng, missing):
    points = points_in_the_detector(rng, 4000)
    places = smeared(rng, points, ERRORS)
    places[:, missing] = np.nan
    fit = fit_points(places, ERRORS)
    pulls = (fit.points - points) / np.sqrt(np.diagonal(fit.covariances, axis1=-2, axis2=-1))
    assert pulls.std(axis=0) == pytest.approx(1.0, abs=0.04)
    assert pulls.mean(axis=0) == pytest.approx(0.0, abs=0.06)
    covariance = np.cov((fit.points - points).T)
    scale = np.sqrt(np.outer(np.diagonal(covariance), np.diagonal(covariance)))
    assert np.abs((covariance - fit.covariances[0]) / scale).max() < 0.08
    degrees = 1 if missing else 3
    assert (fit.degrees == degrees).all()
    assert fit.chi_squares.mean() == pytest.approx(degrees, rel=0.08)
    assert np.histogram(fit.probabilities, 4, (0, 1))[0] == pytest.approx(1000, abs=110)


def test_a_point_needs_two_planes(rng):
    places = smeared(rng, points_in_the_detector(rng, 3), ERRORS)
    places[0, :2], places[1] = np.nan, np.nan
    # Half a place is none.
    places[2, 0, 0], places[2, 1, 1] = np.nan, np.nan
    fit = fit_points(places, ERRORS)
    for values in (fit.points, fit.covariances, fit.pulls, fit.chi_squares, fit.probabilities):
        assert np.isnan(values).all()
    assert (fit.degrees == 0).all()


def test_one_event_is_fitted_as_many_are(rng):
    places = smeared(rng, points_in_the_detector(rng, 5), ERRORS)
    places[3, 1] = np.nan
    many, one = fit_points(places, ERRORS), fit_points(places[3], ERRORS)
    np.testing.assert_allclose(one.points, many.points[3])
    assert one.covariances.shape == (3, 3) and one.pulls.shape == (3, 2)
    np.testing.assert_allclose(one.probabilities, many.probabilities[3])
    assert fit_points(places[:0], ERRORS).probabilities.shape == (0,)


def test_shared_errors_widen_the_point_and_leave_the_planes_in_agreement(rng):
    places = smeared(rng, points_in_the_detector(rng, 10), ERRORS)
    alone, shared = (fit_points(places, e) for e in (ERRORS, dataclasses.replace(ERRORS, shared=(0.3, 0.5, 0.7))))
    np.testing.assert_array_equal(alone.chi_squares, shared.chi_squares)
    np.testing.assert_allclose(shared.covariances - alone.covariances, [np.diag([0.09, 0.25, 0.49])] * 10)


@pytest.mark.parametrize("plane", range(3))
@pytest.mark.parametrize("axis,pixels", [(0, 25), (1, 35)])
def test_a_plane_that_sees_another_point_does_not_agree(rng, plane, axis, pixels):
    places = smeared(rng, points_in_the_detector(rng, 500), ERRORS)
    places[:, plane, axis] += pixels
    assert np.mean(fit_points(places, ERRORS).probabilities < 1e-3) > 0.99


@pytest.mark.parametrize("shared", [(0.0, 0.0, 0.0), (0.4, 1.0, 1.5)])
def test_errors_are_fitted(rng, shared):
    errors = dataclasses.replace(ERRORS, shared=shared)
    points = points_in_the_detector(rng, 5000)
    places = smeared(rng, points, errors)
    fitted = fit_errors(places, places_of(points))
    fit = fit_points(places, fitted)
    pulls = (fit.points - points) / np.sqrt(np.diagonal(fit.covariances, axis1=-2, axis2=-1))
    assert width(pulls) == pytest.approx(1.0, abs=0.05)
    assert np.median(fit.probabilities) == pytest.approx(0.5, abs=0.03)
    if not any(shared):
        np.testing.assert_allclose(fitted.of_places, errors.of_places, rtol=0.06)
    assert fitted.shared == pytest.approx(shared, abs=0.25)


def test_tails_do_not_widen_the_errors(rng):
    """A fifth of the vertices of each plane lies anywhere, and a tenth of the events is missed on all planes alike."""
    points = points_in_the_detector(rng, 5000)
    places = smeared(rng, points, ERRORS)
    wrong = rng.random((5000, 3)) < 0.2
    places[wrong] = rng.uniform((0, 200), (1280, 1800), size=(wrong.sum(), 2))
    places[:500] = places_of(points_in_the_detector(rng, 500))
    places[500:600, 1] = np.nan
    fitted = fit_errors(places, places_of(points))
    np.testing.assert_allclose(fitted.of_places, ERRORS.of_places, rtol=0.1)
    assert max(fitted.shared) < 0.3


def test_errors_need_vertices_that_are_recognised(rng):
    points = points_in_the_detector(rng, 200)
    places = places_of(points)
    assert fit_errors(places, places).of_places == pytest.approx(12**-0.5)
    for few in (np.full_like(places, np.nan), places[:0], places[:19]):
        with pytest.raises(ValueError, match="are recognised on all planes: errors need 20"):
            fit_errors(few, places[: len(few)])


def candidates(rng, events, errors, few=4):
    """Of each plane the right place and others anywhere, which have higher scores as often as not."""
    points = points_in_the_detector(rng, events)
    places = rng.uniform((0, 200), (1280, 1800), size=(events, few, 3, 2)).swapaxes(1, 2)
    right = rng.integers(few, size=(events, 3))
    np.put_along_axis(places, right[..., None, None], smeared(rng, points, errors)[:, :, None], axis=2)
    return points, places, rng.uniform(0.2, 0.9, size=(events, 3, few)), right


def test_the_triple_that_agrees_wins(rng):
    points, places, scores, right = candidates(rng, 300, ERRORS)
    chosen, fit = best_candidates(places, scores, ERRORS)
    assert np.mean((chosen == right).all(axis=-1)) > 0.98
    assert (scores.argmax(axis=-1) == right).all(axis=-1).mean() < 0.1
    assert np.median(np.linalg.norm(fit.points - points, axis=-1)) < 1.0
    one, _ = best_candidates(places[0], scores[0], ERRORS)
    np.testing.assert_array_equal(one, chosen[0])


def test_of_those_that_agree_the_higher_score_wins(rng):
    points = points_in_the_detector(rng, 50)
    others = points_in_the_detector(rng, 50)
    places = np.stack([places_of(points), places_of(others)], axis=2)
    scores = np.tile([0.3, 0.6], (50, 3, 1))
    assert (best_candidates(places, scores, ERRORS)[0] == 1).mean() > 0.95
    assert (best_candidates(places, scores[..., ::-1], ERRORS)[0] == 0).mean() > 0.95


def test_a_plane_on_which_nothing_fits_is_left_out(rng):
    _, places, scores, right = candidates(rng, 300, ERRORS, few=2)
    places[:, 1] = rng.uniform((0, 200), (1280, 1800), size=(300, 2, 2))
    chosen, fit = best_candidates(places, scores, ERRORS)
    well = (chosen[:, 1] == -1) & (chosen[:, [0, 2]] == right[:, [0, 2]]).all(axis=-1)
    assert well.mean() > 0.9
    assert (fit.degrees[well] == 1).all() and np.isnan(fit.pulls[well, 1]).all()


def test_a_right_place_in_the_tails_is_better_than_what_agrees_by_chance(rng):
    _, places, scores, right = candidates(rng, 300, ERRORS, few=2)
    # One plane is six standard deviations off; what agrees within the errors has far lower scores.
    first = np.take_along_axis(places, right[..., None, None], axis=2)
    first[:, 1, 0, 1] += 6 * ERRORS.columns[1]
    elsewhere = smeared(rng, points_in_the_detector(rng, 300), ERRORS)
    places = np.concatenate([first, elsewhere[:, :, None]], axis=2)
    scores = np.broadcast_to([0.8, 0.2], (300, 3, 2))
    chosen, _ = best_candidates(places, scores, ERRORS)
    assert (chosen == 0).all(axis=-1).mean() > 0.9


def test_without_a_point_in_the_detector_there_is_no_choice(rng):
    outside = places_of(np.array([[0.0, 250.0, 100.0], [0.0, 0.0, 700.0]]))[:, :, None]
    for places in (outside, np.full_like(outside, np.nan), outside[:, :, :0]):
        chosen, fit = best_candidates(places, np.ones(places.shape[:-1]), ERRORS)
        assert (chosen == -1).all() and np.isnan(fit.points).all() and (fit.degrees == 0).all()


def test_no_candidate_is_one_without_a_place_or_with_the_score_0(rng):
    points = points_in_the_detector(rng, 20)
    places = np.stack([places_of(points), np.full((20, 3, 2), np.nan), places_of(points)], axis=2)
    chosen, _ = best_candidates(places, np.tile([0.0, 1.0, 0.2], (20, 3, 1)), ERRORS)
    assert (chosen == 2).all()


def test_the_vertices_of_the_sample_meet_in_their_points():
    """SBND's sample: the pixels of its vertices (wire, time), and x, y, z in cm and the time in us of its neutrinos."""
    pixels = [
        [(1522, 640), (1269, 641), (1766, 640)],
        [(642, 449), (1406, 450), (1024, 450)],
        [(491, 1134), (982, 1135), (449, 1134)],
    ]
    neutrinos = np.array(
        [(0.880, -43.832, 472.893, 8.169), (-59.371, 132.301, 250.181, 4.973), (155.263, 84.985, 77.656, 1.939)]
    )
    fit = fit_points(np.array(pixels)[..., ::-1] + 0.5, VertexErrors((1.0,) * 3, (1.0,) * 3))
    # The pixels lie about a column and up to three rows away from the projected vertices.
    assert np.abs(fit.points - geometry.apparent(neutrinos[:, :3], neutrinos[:, 3])).max() < 0.9
    assert (fit.degrees == 3).all() and fit.probabilities.min() > 0.5
