"""Muon's updates: against the singular value decomposition, and against its formula in NumPy."""

import keras
import numpy as np
import pytest

from cosmictagger_tf.training.optimizers import OPTIMIZERS
from cosmictagger_tf.training.orthogonalization import is_matrix, orthogonalize
from tests.training.small import make_batches, make_model, train_on


def by_singular_values(matrix):
    """The matrix [rows, columns] with the polynomial five times on each of its singular values, in float64."""
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ np.diag(values) @ right


def orthogonal(matrices):
    return keras.ops.convert_to_numpy(keras.ops.cast(orthogonalize(keras.ops.convert_to_tensor(matrices)), "float32"))


@pytest.mark.parametrize("shape", [(36, 16), (16, 36), (16, 16), (8, 8), (90, 16), (8, 40), (25, 8)])
def test_each_matrix_becomes_what_the_singular_values_say(shape):
    rng = np.random.default_rng(3)
    # Columns of very different sizes: singular values over three orders of magnitude.
    matrices = (rng.normal(size=(2, *shape)) * np.geomspace(1, 1e-3, shape[1])).astype(np.float32)
    for one, matrix in zip(orthogonal(matrices), matrices, strict=True):
        np.testing.assert_allclose(one, by_singular_values(matrix), atol=2e-3)
        values = np.linalg.svd(matrix, compute_uv=False) / np.linalg.norm(matrix)
        near_one = np.linalg.svd(one, compute_uv=False)[values > 0.002]
        assert len(near_one) > 3 and near_one.min() > 0.67 and near_one.max() < 1.22


def test_a_gradient_of_nothing_but_zeros_makes_no_change():
    zeros, ones = orthogonal(np.stack([np.zeros((12, 8)), np.ones((12, 8))]).astype(np.float32))
    np.testing.assert_array_equal(zeros, 0.0)
    assert np.isfinite(ones).all()


def test_products_in_half_precision_blow_nothing_up():
    # As on a GPU, in bfloat16 or TF32. A rank of 5: the other singular values are nothing but rounding.
    rng = np.random.default_rng(5)
    matrix = (rng.normal(size=(200, 5)) @ rng.normal(size=(5, 40))).astype(np.float32)
    values = np.linalg.svd(orthogonal(keras.ops.cast(matrix[None], "bfloat16"))[0], compute_uv=False)
    assert values[4] > 0.6 and values[0] < 1.4


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (5, 24, 24), (12, 8)])
def test_two_steps_are_the_formulas(shape):
    rng = np.random.default_rng(4)
    begin, *gradients = rng.normal(size=(3, *shape)).astype(np.float32)
    variable, optimizer = keras.Variable(begin), OPTIMIZERS["muon"](0.01)
    expected, momentum = begin.astype(np.float64), 0.0
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        momentum = 0.95 * momentum + gradient
        update = by_singular_values((gradient + 0.95 * momentum).reshape(-1, shape[-1]))
        expected = expected - 0.01 * 0.2 * max(update.shape) ** 0.5 * update.reshape(shape)
    np.testing.assert_allclose(variable.numpy(), expected, atol=1e-5)
    # As large as Adam's: singular values of 0.7 to 1.2.
    assert 0.7 * 0.002 < np.sqrt(np.mean((0.01 * 0.2 * max(update.shape) ** 0.5 * update) ** 2)) < 1.2 * 0.002


def test_kernels_have_orthogonalized_updates_and_all_else_adams():
    batches = make_batches(1, 2)
    muon, adam = (make_model({"optimizer": o, "learning_rate": 0.01}, n_initial_filters=8) for o in ("muon", "adam"))
    for model in (muon, adam):
        train_on(model, batches)
    changed = {True: 0, False: 0}
    for one, other in zip(muon.network.trainable_variables, adam.network.trainable_variables, strict=True):
        assert np.array_equal(one.numpy(), other.numpy()) != is_matrix(one.shape), one.path
        changed[is_matrix(one.shape)] += 1
    assert min(changed.values()) > 3
    losses = train_on(muon, batches * 15)
    assert losses[-1] < 0.9 * losses[0], losses
