"""The gathers' own gradients against finite differences, in float64, and their values against plain sums."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cosmictagger_tf.networks.sparse import gathers
from cosmictagger_tf.networks.sparse.normalization import (
    Groups,
    LeakySum,
    SiteGroups,
    SparseBatchNormalization,
    normalise_groups,
)
from tests.networks.gradients import check_gradients
from tests.networks.sparse.examples import random_batch, rulebook

RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def book():
    return rulebook(random_batch(8, pixels=25))


def test_submanifold(book):
    sites, x, kernel = book["neighbours_0"], RNG.normal(size=(len(book["values"]), 3)), RNG.normal(size=(9, 3, 2))
    padded = np.concatenate([x, np.zeros((1, 3))])
    expected = sum(padded[sites[:, tap]] @ kernel[tap] for tap in range(9))
    np.testing.assert_allclose(gathers.submanifold(ops.convert_to_tensor(x), kernel, sites), expected, atol=1e-12)
    check_gradients(lambda x, kernel: gathers.submanifold(x, kernel, sites), x, kernel)


def test_strided(book):
    children, parents = book["children_0"], book["parents_0"]
    x, kernel = RNG.normal(size=(len(parents), 3)), RNG.normal(size=(4, 3, 2))
    padded = np.concatenate([x, np.zeros((1, 3))])
    expected = sum(padded[children[:, child]] @ kernel[child] for child in range(4))
    output = gathers.strided(ops.convert_to_tensor(x), kernel, children, parents)
    np.testing.assert_allclose(output, expected, atol=1e-12)
    check_gradients(lambda x, kernel: gathers.strided(x, kernel, children, parents), x, kernel)


def test_transposed(book):
    children, parents = book["children_0"], book["parents_0"]
    x, kernel = RNG.normal(size=(len(children), 3)), RNG.normal(size=(4, 3, 2))
    expected = np.stack([x[p // 4] @ kernel[p % 4] for p in parents])
    output = gathers.transposed(ops.convert_to_tensor(x), kernel, children, parents)
    np.testing.assert_allclose(output, expected, atol=1e-12)
    check_gradients(lambda x, kernel: gathers.transposed(x, kernel, children, parents), x, kernel)


def test_max_pool(book):
    children, parents = book["children_1"], book["parents_1"]
    x = RNG.normal(size=(len(parents), 3)) - 1.0
    some = [[x[c] for c in four if c < len(x)] for four in children]
    expected = [np.max(four, axis=0) if four else np.zeros(3) for four in some]
    assert (children == len(x)).all(axis=1).any(), "no pixel of the deepest level is empty"
    np.testing.assert_array_equal(gathers.max_pool(ops.convert_to_tensor(x), children, parents), expected)
    check_gradients(lambda x: gathers.max_pool(x, children, parents), x)


def test_the_first_of_equal_children_gets_the_gradient():
    children, parents = np.array([[0, 1, 2, 3]], np.int32), np.arange(4, dtype=np.int32)
    x = tf.constant([[1.0], [5.0], [5.0], [2.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = gathers.max_pool(x, children, parents)
    assert tape.gradient(y, x).numpy().ravel().tolist() == [0, 1, 0, 0]


def test_row_max():
    rows = np.array([0, 0, 2, 2, 2, 5, 6, 6], np.int32)
    x = RNG.normal(size=(8, 3)) - 1.0
    expected = np.zeros((6, 3))
    for row in (0, 2, 5):
        expected[row] = x[rows == row].max(axis=0)
    np.testing.assert_array_equal(gathers.row_max(ops.convert_to_tensor(x), rows, 6), expected)
    check_gradients(lambda x: gathers.row_max(x, rows, 6), x)


def test_equal_sites_of_a_row_share_the_gradient():
    x = tf.constant([[1.0], [5.0], [5.0], [2.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = gathers.row_max(x, np.zeros(4, np.int32), 1)
    assert tape.gradient(y, x).numpy().ravel().tolist() == [0, 0.5, 0.5, 0]


def test_repeat(book):
    children, parents = book["children_0"], book["parents_0"]
    x = RNG.normal(size=(len(children), 3))
    np.testing.assert_array_equal(gathers.repeat(ops.convert_to_tensor(x), children, parents), x[parents // 4])
    check_gradients(lambda x: gathers.repeat(x, children, parents), x)


@pytest.mark.parametrize("planes", [1, 3])
def test_normalisation(planes):
    x, gamma, beta = RNG.normal(size=(50, 4)), RNG.normal(size=4), RNG.normal(size=4)
    images = RNG.integers(-1, 6, 50, dtype=np.int32)
    group = np.where(images < 0, -1, images % planes)
    groups = Groups(*(tf.cast(each, tf.float64) for each in SiteGroups(planes)(images)))
    np.testing.assert_array_equal(groups.rows, (group[:, None] == np.arange(planes)))
    np.testing.assert_array_equal(groups.size[:, 0], [(group == g).sum() for g in range(planes)])
    np.testing.assert_allclose(tf.reduce_sum(groups.share, axis=1), np.ones(planes), rtol=1e-6)

    def call(x, gamma, beta):
        # In float64 to the last digit, which the shares of a layer in float32 are not.
        return normalise_groups(x, gamma, beta, groups._replace(share=exact), epsilon=1e-3, slope=0.1)[0]

    exact = tf.transpose(groups.rows) / groups.size
    output = call(*map(tf.constant, (x, gamma, beta))).numpy()
    for g in range(planes):
        rows = x[group == g]
        expected = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3) * gamma + beta
        np.testing.assert_allclose(output[group == g], np.where(expected > 0, expected, 0.1 * expected), atol=1e-12)
    # What padded rows get counts nowhere.
    used = tf.constant((group >= 0).astype(np.float64)[:, None])
    check_gradients(lambda x, gamma, beta: call(x, gamma, beta) * used, x, gamma, beta)


def test_statistics_are_exact_in_half_precision():
    # Of 515 sites: bfloat16 knows 514 and 516.
    groups = SiteGroups()(np.zeros(515, np.int32))
    layer = SparseBatchNormalization(momentum=0.9, bessel=True, dtype="mixed_bfloat16")
    assert layer(tf.ones((515, 2), tf.bfloat16), *groups, training=True).dtype == tf.bfloat16
    np.testing.assert_allclose(layer.moving_mean, 0.1, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.9, rtol=1e-5)


def test_leaky_sum():
    x, y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3))
    layer = LeakySum(0.1, dtype="float64")
    np.testing.assert_allclose(layer(x, y), np.where(x + y > 0, x + y, 0.1 * (x + y)), atol=1e-15)
    check_gradients(layer, x, y)
    check_gradients(layer, x)
