"""Results of vertices: of all readouts and of those that are selected, on planes and in the detector."""

import json

import numpy as np
import pytest

from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.vertex_results import (
    ALL_READOUTS,
    SELECTED,
    describe_vertices,
    point_distances,
    vertex_columns,
    vertex_lines,
    vertex_results,
)

POINT = (50.0, 20.0, 250.0)
THERE = Neutrino(1.0, 14, 0, vertex=(*POINT, 0.0))


def details(pixels, points, cm=True):
    """Of events with these distances of their planes, in pixels, and these points."""
    pixels = np.array(pixels, float)
    empty = np.zeros((len(pixels), 3))
    columns = {
        "vertex_pixels": pixels,
        "vertex_cm": 0.3 * pixels if cm else None,
        "points": points and np.array(points, float),
    }
    return EventDetails(empty, empty, empty, np.full(len(pixels), 90), **columns)


def test_distances_by_plane_and_of_the_point():
    given = details([[1, 2, 30], [4, 5, 6], [np.nan] * 3], [POINT, (50, 20, 258), POINT])
    points = point_distances(given, [(THERE,), (THERE,), ()])
    np.testing.assert_allclose(points.apparent, [0, 8, np.nan])
    results = vertex_results(given, points, np.array([True, False, True]), 0, 0)
    every, selected = results[ALL_READOUTS], results[SELECTED]
    assert every["plane 2, pixels"].median == 6 and every["plane 2, pixels"].events == 2
    assert every["all planes, cm"].near == 5 / 6 and every["in the detector, cm"].near == 0.5
    assert selected["in the detector, cm"].near == 1 and selected["all planes, cm"].events == 1
    text = "\n".join(vertex_lines(results))
    assert f"{ALL_READOUTS}: 2 readouts" in text and f"{SELECTED}: 1 readout\n" in text and "within 5" in text
    described = json.loads(json.dumps(describe_vertices(results)))
    assert described[SELECTED]["all planes, pixels"]["median"] == 2
    columns = vertex_columns(given, points)
    assert columns["vertex_distance_cm/plane1"][0] == 0.6 and columns["point_distance_cm"][1] == 8


def test_a_readout_of_cosmic_rays_only_has_no_point_whatever_its_interactions():
    given = details([[1, 2, 3]], [POINT])
    given.true_pixels[:] = 9
    assert np.isnan(point_distances(given, [(THERE,)])).all()


def test_the_true_x_is_told_of_readouts_with_one_neutrino():
    """At 3 and 5 us, of which 4 are expected: 0.16 cm either way. Of two neutrinos no one knows whose the point is."""
    early, late = (Neutrino(1.0, 14, 0, vertex=(*POINT, time)) for time in (3.0, 5.0))
    seen = [(POINT[0] - 0.16 * time, *POINT[1:]) for time in (3.0, 5.0)]
    given = details([[1, 2, 3]] * 3, [*seen, seen[0]])
    points = point_distances(given, [(early,), (late,), (early, late)])
    np.testing.assert_allclose(points.apparent, 0, atol=1e-12)
    np.testing.assert_allclose(points.true_x, [0.16, 0.16, np.nan])
    results = vertex_results(given, points, None, 0, 0)[ALL_READOUTS]
    assert results["true x, cm"].events == 2 and results["true x, cm"].median == pytest.approx(0.16)
    np.testing.assert_array_equal(vertex_columns(given, points)["true_x_distance_cm"], points.true_x)


def test_where_no_point_is_predicted_all_are_infinitely_far_away():
    given = details([[np.inf] * 3], [[np.nan] * 3])
    results = vertex_results(given, point_distances(given, [(THERE,)]), None, 0, 0)[ALL_READOUTS]
    assert results["in the detector, cm"].median == results["true x, cm"].median == np.inf


def test_what_the_truth_lacks_is_named():
    # In images whose geometry is not known there are no points to compare with.
    given = details([[np.nan] * 3], None, cm=False)
    assert point_distances(given, [(THERE,)]) is None
    results = vertex_results(given, None, None, 10, 0)
    assert set(results) == {ALL_READOUTS} and "all planes, cm" not in results[ALL_READOUTS]
    assert f"{ALL_READOUTS}: none in the truth" in vertex_lines(results)


def test_the_size_of_a_pixel_is_enough_for_the_planes():
    given = details([[1, 2, 3]], None)
    results = vertex_results(given, point_distances(given, [(THERE,)]), None, 0, 0)[ALL_READOUTS]
    assert results["all planes, cm"].median == pytest.approx(0.6) and "in the detector, cm" not in results


def test_a_network_without_the_head_tells_nothing():
    bare = EventDetails(*np.zeros((3, 2, 3)), np.zeros(2))
    assert point_distances(bare, [None, None]) is None
    assert vertex_results(bare, None, None, 0, 0) is None and describe_vertices(None) is None
    assert vertex_columns(bare, None) == {}
