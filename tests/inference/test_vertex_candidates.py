"""The candidates of a plane: the best cells, and what of them is one place."""

import numpy as np

from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.inference.vertex_candidates import CANDIDATES, CELLS, cell_sides, vertex_candidates

SHAPE = ImageShape(2, 64, 128)


def cells_with(**filled):
    """Cells [1, 2, 8, 16, 3] of 8 pixels a side: of plane 0, at the given (row, column) -> (score, place in pixels)."""
    cells = np.zeros((1, 2, 8, 16, 3), np.float32)
    for row, column, score, place in filled["of"]:
        cells[0, 0, row, column] = (score, *(np.array(place) / 8 - (row, column)))
    return cells


def test_neighbouring_cells_that_mean_one_place_are_one_candidate():
    cells = cells_with(
        of=[(3, 4, 0.9, (30, 40)), (3, 5, 0.3, (32, 42)), (2, 4, 0.6, (29, 39)), (6, 12, 0.5, (50, 100))]
    )
    places, scores = vertex_candidates(cells, SHAPE)
    assert places.shape == (1, 2, CANDIDATES, 2) and scores.shape == (1, 2, CANDIDATES)
    mean = (0.9 * np.array([30, 40]) + 0.3 * np.array([32, 42]) + 0.6 * np.array([29, 39])) / 1.8
    np.testing.assert_allclose(places[0, 0, :2], [mean, (50, 100)], rtol=1e-6)
    np.testing.assert_allclose(scores[0, 0, :2], [0.9, 0.5], rtol=1e-6)
    assert np.isnan(scores[0, 0, 2:]).all() and np.isnan(places[0, 0, 2:]).all()
    # An empty plane has none.
    assert np.isnan(scores[0, 1]).all() and np.isnan(places[0, 1]).all()


def test_a_place_far_from_its_cell_counts_where_it_is_and_none_is_outside_the_image():
    cells = cells_with(of=[(0, 0, 0.8, (30, 40)), (7, 15, 0.7, (31, 41)), (0, 1, 0.2, (-5, 140))])
    places, scores = vertex_candidates(cells, SHAPE)
    np.testing.assert_allclose(places[0, 0, 0], (30.467, 40.467), atol=1e-3)
    assert places[0, 0, 1, 0] == 0 and 127 < places[0, 0, 1, 1] < 128 and np.isnan(scores[0, 0, 2])


def test_of_dense_cells_the_best_are_kept_and_the_same_ones_every_time():
    """A dense network has a score in every cell; equal ones are taken row by row."""
    cells = np.random.default_rng(0).random((3, 2, 8, 16, 3)).astype(np.float32)
    cells[1, ..., 0] = 0.5
    cells[1, ..., 1:] = 0.5
    assert cells.shape[2] * cells.shape[3] < CELLS
    places, scores = vertex_candidates(cells, SHAPE)
    assert (np.diff(scores, axis=-1) <= 0).all() and np.isfinite(places).all()
    np.testing.assert_allclose(scores[..., 0], cells[..., 0].max(axis=(2, 3)))
    np.testing.assert_array_equal(places[1, 0], [(4, 4 + 8 * column) for column in range(CANDIDATES)])


def test_cells_divide_the_files_image_whatever_the_networks_resolution():
    assert cell_sides(np.zeros((1, 3, 160, 256, 3)), ImageShape()).tolist() == [8, 8]
