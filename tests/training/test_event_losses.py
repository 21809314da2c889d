"""The losses of the heads: what is left out, and that an event's loss is its own; that they are the reference's is in
tests/parity."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.training.event_losses import (
    class_losses,
    detection_losses,
    heatmap_losses,
    near_offset_losses,
    offset_losses,
)
from cosmictagger_tf.training.vertex_cells import near_vertices, vertex_targets

RNG = np.random.default_rng(5)
HEAD = RNG.uniform(0.05, 0.95, size=(4, 3, 8, 12, 3)).astype(np.float32)
VERTICES = RNG.uniform(0, (32, 48), size=(4, 2, 3, 2)).astype(np.float32)
KNOWN = np.array([True] * 4)


def losses(head, vertices, known=KNOWN):
    targets = vertex_targets(vertices, 8, 12, 4)
    return [np.asarray(loss) for loss in (detection_losses(head, targets, known), offset_losses(head, targets))]


def test_an_event_of_unknown_class_has_no_loss_and_no_gradient():
    logits, classes = tf.Variable(RNG.normal(size=(4, 4)).astype(np.float32)), np.int32([0, -1, 3, -1])
    with tf.GradientTape() as tape:
        values = class_losses(classes, logits)
        loss = tf.reduce_sum(values)
    assert (values.numpy() > 0).tolist() == [True, False, True, False]
    gradient = np.abs(tape.gradient(loss, logits)).max(axis=1)
    assert (gradient > 0).tolist() == [True, False, True, False]
    expected = keras.losses.sparse_categorical_crossentropy(np.int32([0, 3]), logits.numpy()[[0, 2]], from_logits=True)
    np.testing.assert_allclose(values.numpy()[[0, 2]], expected, rtol=1e-5)


def test_an_events_losses_are_its_own():
    together = losses(HEAD, VERTICES)
    for event in range(4):
        alone = losses(HEAD[event : event + 1], VERTICES[event : event + 1], KNOWN[:1])
        for one, other in zip(together, alone, strict=True):
            assert one[event] == pytest.approx(other[0], rel=1e-5)


def test_without_a_vertex_every_cell_is_a_negative_and_no_offset_counts():
    none = np.full_like(VERTICES, -1)
    detection, offset = losses(HEAD, none)
    p = HEAD[..., 0].astype(np.float64)
    np.testing.assert_allclose(detection, (-np.log(1 - p) * p**2).sum(axis=(1, 2, 3)), rtol=1e-5)
    assert not offset.any()
    assert losses(HEAD, none, np.array([True, False, True, False]))[0].astype(bool).tolist() == [True, False] * 2


def test_probabilities_of_0_and_1_have_finite_losses():
    for value in (0, 1):
        for loss in losses(np.full_like(HEAD, value), VERTICES):
            assert np.isfinite(loss).all()


def test_a_vertex_in_a_cell_without_a_pixel_is_left_out():
    # Of which a sparse network gives 0.
    targets = vertex_targets(VERTICES, 8, 12, 4)
    head = HEAD * (1 - np.asarray(targets.detection))[..., None]
    detection, offset = losses(head, VERTICES)
    np.testing.assert_allclose(detection, losses(head, np.full_like(VERTICES, -1))[0], rtol=1e-6)
    assert not offset.any()


def near_losses(head, vertices, known=KNOWN):
    near = near_vertices(vertices, 8, 12, 4)
    return [np.asarray(loss) for loss in (heatmap_losses(head, near, known), near_offset_losses(head, near))]


def test_heatmap_losses_are_least_where_the_head_is_the_target():
    near = near_vertices(VERTICES, 8, 12, 4)
    right = np.concatenate([np.maximum(near.heat, 1e-6)[..., None], near.offsets], axis=-1)
    heat, offset = near_losses(right, VERTICES)
    assert heat.max() < 1e-3 and offset.max() < 1e-6
    for other, loss in zip(near_losses(HEAD, VERTICES), (heat, offset), strict=True):
        assert (other > loss + 0.1).all()


def test_near_losses_by_hand():
    """One vertex in the middle of a cell: its neighbours have exp(-1/2), and 29 cells are within 3 of it."""
    vertices = np.full((1, 1, 1, 2), 18, np.float32)
    head = np.zeros((1, 1, 8, 12, 3), np.float32)
    head[..., 0] = 0.5
    near = near_vertices(vertices, 8, 12, 4)
    squares = np.add.outer((np.arange(8) - 4) ** 2, (np.arange(12) - 4) ** 2)
    heat = np.where(squares <= 9, np.exp(-squares / 2), 0)
    np.testing.assert_allclose(near.heat[0, 0], heat, atol=1e-6)
    assert float(heatmap_losses(head, near, KNOWN[:1])[0]) == pytest.approx(
        (np.log(2) * (heat - 0.5) ** 2).sum(), rel=1e-5
    )
    # Each points to its own corner: half a cell and so many cells away.
    away = np.abs(np.stack(np.meshgrid(4.5 - np.arange(8), 4.5 - np.arange(12), indexing="ij")))
    expected = (heat * (away - 0.125 / 2).sum(axis=0)).sum() / heat.sum()
    assert float(near_offset_losses(head, near)[0]) == pytest.approx(expected, rel=1e-5)


def test_cells_without_a_pixel_and_unknown_vertices_have_no_loss_and_no_gradient():
    head = HEAD.copy()
    head[:, :, :, ::2] = 0
    near, variable = near_vertices(VERTICES, 8, 12, 4), tf.Variable(head)
    known = np.array([True, False, True, True])
    with tf.GradientTape(persistent=True) as tape:
        heat = heatmap_losses(variable, near, known)
        total = tf.reduce_sum(heat + near_offset_losses(variable, near))
        of_heat = tf.reduce_sum(heat)
    gradient = np.asarray(tape.gradient(total, variable))
    assert np.isfinite(gradient).all() and not gradient[:, :, :, ::2].any() and gradient[0].any()
    assert (heat.numpy() > 0).tolist() == known.tolist()
    assert not np.asarray(tape.gradient(of_heat, variable))[1].any()
    nothing = near_losses(np.zeros_like(HEAD), VERTICES)
    assert not np.any(nothing)
