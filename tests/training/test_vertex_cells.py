"""Vertices to cells, and back; that they are the reference's is in tests/parity."""

import numpy as np

from cosmictagger_tf.training.vertex_cells import at_cells, near_vertices, predicted_vertices, vertex_targets


def test_a_prediction_that_is_the_target_is_the_vertex():
    rng = np.random.default_rng(2)
    vertices = rng.uniform(0, (32, 48), size=(4, 1, 3, 2)).astype(np.float32)
    targets = vertex_targets(vertices, 8, 12, 4)
    assert np.all(targets.there) and np.all(np.sum(targets.detection, axis=(2, 3)) == 1)
    offsets = np.asarray(targets.offsets)
    head = rng.uniform(0, 0.5, size=(4, 3, 8, 12, 3)).astype(np.float32)
    hit = np.asarray(targets.detection) > 0
    head[hit] = np.concatenate([np.full((12, 1), 0.75), offsets.reshape(-1, 2)], axis=1)
    places, scores = predicted_vertices(head, 4)
    np.testing.assert_allclose(places, vertices[:, 0], atol=1e-4)
    np.testing.assert_array_equal(scores, np.full((4, 3), 0.75))
    np.testing.assert_allclose(np.asarray(at_cells(head, targets.cells))[..., 1:], offsets, atol=1e-6)


def test_vertices_outside_the_image_have_no_cell():
    vertices = np.float32([[[[-1, -1], [-1, 5], [5, -1], [32, 5], [5, 48], [31.9, 47.9]]]])
    targets = vertex_targets(vertices, 8, 12, 4)
    assert np.asarray(targets.there).tolist() == [[[False] * 5 + [True]]]
    assert np.sum(targets.detection, axis=(2, 3)).tolist() == [[0, 0, 0, 0, 0, 1]]
    assert np.asarray(targets.detection)[0, 5, 7, 11] == 1


def test_several_vertices_of_an_event():
    vertices = np.float32([[[[1, 2]], [[3, 0]], [[-1, -1]], [[9, 20]]], [[[-1, -1]]] * 4])
    targets = vertex_targets(vertices, 8, 12, 4)
    # The first two share a cell.
    assert np.argwhere(targets.detection).tolist() == [[0, 0, 0, 0], [0, 0, 2, 5]]
    assert np.max(targets.detection) == 1
    assert np.asarray(targets.cells)[0, :, 0].tolist() == [0, 0, 0, 29]
    np.testing.assert_array_equal(targets.offsets[0, :2, 0], [[0.25, 0.5], [0.75, 0]])
    head = np.arange(2 * 8 * 12 * 3, dtype=np.float32).reshape(2, 1, 8, 12, 3)
    np.testing.assert_array_equal(at_cells(head, targets.cells)[0, 3, 0], head[0, 0, 2, 5])
    np.testing.assert_array_equal(at_cells(head, targets.cells)[1, 3, 0], head[1, 0, 0, 0])


def test_cells_near_a_vertex_point_to_the_nearest():
    """Against a loop over cells; one vertex is outside the image, and one plane has none."""
    rng = np.random.default_rng(3)
    vertices = rng.uniform(0, (32, 48), size=(3, 3, 2, 2)).astype(np.float32)
    vertices[0, 1], vertices[1, :, 0], vertices[2, 2, 1] = -1, -1, (33, 5)
    near = near_vertices(vertices, 8, 12, 4)
    heat, offsets = np.asarray(near.heat), np.asarray(near.offsets)
    for event, plane, row, column in np.ndindex(heat.shape):
        inside = [v for v in vertices[event, :, plane] / 4 if 0 <= v[0] < 8 and 0 <= v[1] < 12]
        squares = [(v[0] - row - 0.5) ** 2 + (v[1] - column - 0.5) ** 2 for v in inside]
        if not squares or min(squares) > 9:
            assert heat[event, plane, row, column] == 0
            continue
        nearest = inside[int(np.argmin(squares))]
        assert abs(heat[event, plane, row, column] - np.exp(-min(squares) / 2)) < 1e-5
        np.testing.assert_allclose(offsets[event, plane, row, column], nearest - (row, column), atol=1e-5)
    assert (heat[1, 0] == 0).all() and (heat[1, 1] > 0).any()
    head = np.concatenate([heat[..., None], offsets], axis=-1)
    places, scores = predicted_vertices(head, 4)
    assert (np.asarray(scores)[0] > 0.75).all()
    distances = np.abs(np.asarray(places)[:, None] - vertices).max(axis=-1).min(axis=1)
    assert np.delete(distances.ravel(), 2).max() < 1e-3


def test_a_place_between_two_vertices_points_between_them():
    vertices = np.float32([[[[6, 2]], [[6, 6]]]])
    near = near_vertices(vertices, 4, 4, 4)
    # The cells of columns 0 and 1 are nearer to one each.
    assert np.asarray(near.offsets)[0, 0, 1, :2].tolist() == [[0.5, 0.5], [0.5, 0.5]]
    near = near_vertices(np.float32([[[[6, 4]], [[6, 8]]]]), 4, 4, 4)
    assert np.asarray(near.offsets)[0, 0, 1, 1].tolist() == [0.5, 0.5]
