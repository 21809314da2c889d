"""What heads give of events, in the file's pixels, and how far their vertices are off."""

import numpy as np
import pytest

from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.geometry import PIXEL_CM, project
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.head_details import HeadReader, true_vertices
from cosmictagger_tf.networks.segmentation import EVENT, VERTEX

SBND, CELL = ImageShape(), 32
POINT = np.array([50.0, 20.0, 250.0])


def cells_at(*places, shape=SBND):
    """A vertex head's numbers that are sure of these places, [planes, 2] or None of an event without a pixel."""
    cells = np.zeros((len(places), shape.planes, shape.height // CELL, shape.width // CELL, 3), np.float32)
    for event, place in enumerate(places):
        for plane, (row, column) in enumerate(() if place is None else place):
            cell = int(row // CELL), int(column // CELL)
            cells[(event, plane, *cell)] = 0.9, row / CELL - cell[0], column / CELL - cell[1]
    return cells


def batch_of(*vertices, downsample=0):
    """A Batch's truth: of each event a place [planes, 2] in the file's pixels; None = not known."""
    padded = np.full((len(vertices), 8, 3, 2), -1.0, np.float32)
    for event, place in enumerate(vertices):
        if place is not None:
            padded[event, 0] = np.asarray(place) / 2**downsample
    known = np.float32([place is not None for place in vertices])
    return {"vertices": padded, "vertices_known": known}


def results_of(*places, downsample=0):
    best = np.float32([np.zeros((3, 2)) if place is None else place for place in places]) / 2**downsample
    scores = np.float32([[place is not None] * 3 for place in places])
    return {VERTEX: cells_at(*places), "vertices": best, "vertex_scores": scores}


@pytest.mark.parametrize("downsample", [0, 2])
def test_vertices_are_compared_in_the_files_pixels_and_in_cm(downsample):
    true = project(POINT, 0.0)
    moved = true + (3.0, 4.0)
    batch = batch_of(true, true, None, downsample=downsample)
    results = results_of(moved, true, true, downsample=downsample)
    columns = HeadReader(SBND, downsample).columns(batch, results, np.arange(3))
    np.testing.assert_allclose(columns["vertex_pixels"][:2], [[5.0] * 3, [0.0] * 3], atol=1e-2)
    assert np.isnan(columns["vertex_pixels"][2]).all()
    expected = np.hypot(3 * PIXEL_CM[0], 4 * PIXEL_CM[1])
    np.testing.assert_allclose(columns["vertex_cm"][0], expected, atol=1e-2)
    np.testing.assert_allclose(columns["points"][1], POINT, atol=0.3)
    assert columns["vertex_agreement"][1] > 0.5
    np.testing.assert_allclose(columns["vertex_rows"], np.ptp(true[:, 0]), atol=1e-2)


def test_an_empty_plane_has_no_vertex_and_no_rows():
    results = results_of(project(POINT, 0.0), None)
    columns = HeadReader(SBND).columns(batch_of(project(POINT, 0.0), project(POINT, 0.0)), results, np.array([1]))
    assert np.isnan(columns["vertex_rows"]).all() and np.isnan(columns["points"]).all()
    # A true vertex without a predicted one is infinitely far away.
    assert np.isinf(columns["vertex_pixels"]).all()


def test_of_an_unknown_geometry_there_are_pixels_alone():
    shape = ImageShape(3, 64, 96)
    place = np.array([(10.0, 20.0)] * 3)
    results = {VERTEX: cells_at(place, shape=shape), "vertices": place[None], "vertex_scores": np.ones((1, 3))}
    columns = HeadReader(shape).columns(batch_of(place + 1), results, np.arange(1))
    assert "vertex_cm" not in columns and "points" not in columns
    np.testing.assert_allclose(columns["vertex_pixels"], np.sqrt(2), atol=1e-4)


def test_of_an_unknown_geometry_the_file_tells_the_size_of_a_pixel():
    shape = ImageShape(3, 64, 96)
    place = np.array([(10.0, 20.0)] * 3)
    results = {VERTEX: cells_at(place, shape=shape), "vertices": place[None], "vertex_scores": np.ones((1, 3))}
    columns = HeadReader(shape, pixel_size=(0.4, 0.3)).columns(batch_of(place + (3, 4)), results, np.arange(1))
    np.testing.assert_allclose(columns["vertex_cm"], np.hypot(3 * 0.4, 4 * 0.3), atol=1e-4)
    # SBND's own images are what they are, whatever a file has.
    assert HeadReader(SBND, pixel_size=(9.0, 9.0)).pixel_cm == PIXEL_CM


def test_probabilities_are_at_equal_priors_where_the_weights_are_calibrated():
    results = {EVENT: np.log(np.float32([[0.3, 0.3, 0.3, 0.1]]))}
    plain = HeadReader(SBND).columns({}, results, np.arange(1))
    assert set(plain) == {"class_scores", "called_classes"}
    np.testing.assert_allclose(plain["class_scores"], [[0.3, 0.3, 0.3, 0.1]], rtol=1e-5)
    moved = HeadReader(SBND, 0, Calibration(training_prior=0.9)).columns({}, results, np.arange(1))
    np.testing.assert_allclose(moved["class_scores"], [[1 / 6] * 3 + [1 / 2]], rtol=1e-5)
    assert HeadReader(SBND).columns({}, {}, np.arange(1)) == {}


def test_true_vertices_are_unknown_or_none():
    known, unknown = true_vertices(batch_of(np.array([(1.0, 2), (3, 4), (-1, -1)]), None), np.arange(2), 1)
    np.testing.assert_array_equal(known[0], [(2, 4), (6, 8), (np.nan, np.nan)])
    assert np.isnan(known[1:]).all() and unknown is None


def test_details_with_what_heads_give_stay_together():
    true = project(POINT, 0.0)
    parts = []
    for place in (true, true + 8):
        columns = HeadReader(SBND).columns(batch_of(true), results_of(place), np.arange(1))
        parts.append(EventDetails(*np.zeros((3, 1, 3)), np.zeros(1), **columns))
    joined = EventDetails.join(parts).reordered(np.array([1, 0]))
    assert joined.vertex_pixels[0].min() > 8 and joined.vertex_pixels[1].max() < 0.1
    assert set(joined.quantities()) == {"pixels", "rows", "vertex_rows", "vertex_agreement"}
