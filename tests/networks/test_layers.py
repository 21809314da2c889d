"""The layers of the dense networks: the battery, and each against a plain formula."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.networks.blocks import HalvingMaxPool, Parts, PlanewiseConv3D
from cosmictagger_tf.networks.convolutions import Conv2D, Conv2DTranspose
from cosmictagger_tf.networks.interpolation import Doubling
from cosmictagger_tf.networks.normalization import PlaneBatchNormalization, by_batch_statistics, elements
from cosmictagger_tf.networks.sparse.normalization import SiteGroups
from tests.networks.battery import run_battery
from tests.networks.gradients import check_gradients

X = np.random.default_rng(1).normal(size=(6, 4, 8, 4)).astype(np.float32)
CHANNELS_FIRST = np.ascontiguousarray(X.transpose(0, 3, 1, 2))

# With 8 filters as many as the width: an axis that is guessed from its size is guessed wrongly.
LAYERS = {
    "conv_2d": lambda f: Conv2D(8, 3, padding="same", data_format=f),
    "conv_2d_transposed": lambda f: Conv2DTranspose(16, 2, strides=2, padding="same", data_format=f),
    "conv_3d": lambda f: PlanewiseConv3D(8, 3, padding="same", data_format=f),
    "conv_3d_strided": lambda f: PlanewiseConv3D(5, 2, strides=2, padding="same", data_format=f),
    "pool": lambda f: HalvingMaxPool(f),
    "bilinear": lambda f: Doubling("bilinear", f),
    "nearest": lambda f: Doubling("nearest", f),
    "norm_per_plane": lambda f: PlaneBatchNormalization(planes=3, bessel=True, axis=-1 if f == "channels_last" else 1),
    "norm_pooled": lambda f: PlaneBatchNormalization(planes=1, axis=-1 if f == "channels_last" else 1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_battery(name, tmp_path):
    run_battery(lambda: LAYERS[name]("channels_last"), X, tmp_path)


@pytest.mark.parametrize("name", LAYERS)
def test_channels_first_is_channels_last(name):
    # Compiled, because TensorFlow has no channels_first convolution for CPUs; XLA has.
    last, first = LAYERS[name]("channels_last"), LAYERS[name]("channels_first")
    last.build(X.shape)
    first.build(CHANNELS_FIRST.shape)
    rng = np.random.default_rng(5)
    last.set_weights([rng.uniform(0.5, 1, w.shape).astype(np.float32) for w in last.get_weights()])
    first.set_weights(last.get_weights())
    output = tf.function(first, jit_compile=True)(CHANNELS_FIRST)
    np.testing.assert_allclose(np.asarray(output).transpose(0, 2, 3, 1), last(X), rtol=1e-4, atol=1e-5)
    inputs = keras.Input(CHANNELS_FIRST.shape[1:])
    assert first(inputs).shape[1:] == output.shape[1:]


def test_a_planewise_3d_convolution_is_a_3d_convolution():
    layer = PlanewiseConv3D(5, 3, padding="same")
    output = layer(X)
    expected = tf.nn.conv3d(X[:, None], layer.kernel, (1, 1, 1, 1, 1), "SAME")[:, 0] + layer.bias
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_doubling_is_keras_upsampling():
    for kind in ("bilinear", "nearest"):
        expected = keras.layers.UpSampling2D(2, interpolation=kind)(X)
        np.testing.assert_allclose(Doubling(kind)(X), expected, rtol=1e-5, atol=1e-6)


def test_pooling_takes_the_maximum_and_the_first_of_equals_takes_the_gradient():
    np.testing.assert_array_equal(HalvingMaxPool()(X), tf.nn.max_pool2d(X, 2, 2, "SAME"))
    zeros = tf.Variable(tf.zeros((1, 2, 4, 1)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(HalvingMaxPool()(zeros))
    np.testing.assert_array_equal(tape.gradient(total, zeros)[0, :, :, 0], [[1, 0, 1, 0], [0, 0, 0, 0]])


def _normalised(x, axes, epsilon):
    x = x.astype(np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize(("wiring", "epsilon"), [("pytorch", 1e-5), ("tensorflow", 1e-3)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("kind", ["layer", "group", "instance", "per_plane", "pooled"])
def test_normalisation_is_the_plain_formula(kind, data_format, wiring, epsilon):
    batch = kind in ("per_plane", "pooled")
    options = {"normalization": "batch", "norm_statistics": kind} if batch else {"normalization": kind}
    parts = Parts(NetworkConfig(wiring=wiring, data_format=data_format, **options), planes=3)
    x = (3 + 2 * np.random.default_rng(2).normal(size=(6, 4, 16, 16))).astype(np.float32)
    given = x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    inputs = keras.Input(given.shape[1:])
    model = keras.Model(inputs, parts.normalise(inputs, "norm"))
    # A gain and an offset, which the formula below undoes.
    gain, offset = 1 + np.arange(16) / 16, np.arange(16) / 4
    model.set_weights([gain, offset, *model.get_weights()[2:]])
    output = np.asarray(model(given, training=True))
    output = output if data_format == "channels_last" else output.transpose(0, 2, 3, 1)
    expected = {
        # Each pixel by its own channels.
        "layer": lambda: _normalised(x, 3, epsilon),
        # Each image, 8 groups of 2 neighbouring channels.
        "group": lambda: _normalised(x.reshape(6, 4, 16, 8, 2), (1, 2, 4), epsilon).reshape(x.shape),
        # Each image and channel.
        "instance": lambda: _normalised(x, (1, 2), epsilon),
        # The planes are the fastest-running index of the folded axis.
        "per_plane": lambda: _normalised(x.reshape(2, 3, 4, 16, 16), (0, 2, 3), epsilon).reshape(x.shape),
        "pooled": lambda: _normalised(x, (0, 1, 2), epsilon),
    }[kind]()
    np.testing.assert_allclose((output - offset) / gain, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["per_plane", "pooled", "masked", "channels_first"])
def test_gradients_of_a_normalisation(kind):
    rng = np.random.default_rng(3)
    x, gamma, beta = rng.normal(size=(2, 3, 4, 6, 5)), rng.normal(size=5), rng.normal(size=5)
    active, channels = None, 4
    if kind == "pooled":
        x = x.reshape(6, 1, 4, 6, 5)
    if kind == "masked":
        active = tf.constant(rng.integers(0, 2, (6, 4, 6, 1)).astype(np.float64))
    if kind == "channels_first":
        x, channels = x.transpose(0, 1, 4, 2, 3), 2
    options = {"channels": channels, "momentum": 0.9, "epsilon": 1e-3, "bessel": False}

    def call(x, gamma, beta):
        y = by_batch_statistics(x, gamma, beta, np.zeros(5), np.ones(5), active, **options)[0]
        # What comes out where nothing is active is left out.
        return y if active is None else y * tf.reshape(active, (2, 3, 4, 6, 1))

    check_gradients(call, x, gamma, beta)


@pytest.mark.parametrize("bessel", [False, True])
def test_moving_statistics_get_one_update_a_plane_in_order(bessel):
    layer = PlaneBatchNormalization(planes=3, bessel=bessel, momentum=0.9, epsilon=1e-3)
    layer(X, training=True)
    mean, variance = np.zeros(4), np.ones(4)
    for plane in range(3):
        own = X.reshape(2, 3, 4, 8, 4)[:, plane].astype(np.float64)
        mean = 0.9 * mean + 0.1 * own.mean((0, 1, 2))
        variance = 0.9 * variance + 0.1 * own.var((0, 1, 2), ddof=int(bessel))
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-4)
    # In inference all planes are normalised by the moving statistics.
    expected = (X - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(layer(X, training=False), expected, rtol=1e-3, atol=1e-3)


def test_elements_are_counted_beyond_int32():
    shape = (18, 3, 1280, 2048, 16)
    assert float(elements(keras.KerasTensor(shape), range(5))) == pytest.approx(math.prod(shape), rel=1e-6)
    assert math.prod(shape) > 2**31


@pytest.mark.parametrize("masked", [False, True])
def test_a_normalisation_of_an_open_batch_has_no_product_of_sizes_in_int32(masked):
    layer = PlaneBatchNormalization(planes=3)
    layer.build((None, 8, 8, 4))

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 4)), tf.TensorSpec((None, 8, 8, 1))])
    def step(x, active):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, active if masked else None, training=True)
        return tape.gradient(y, x, output_gradients=tf.ones_like(y))

    kinds = {operation.type for operation in step.get_concrete_function().graph.get_operations()}
    assert not kinds & {"Size", "Prod", "FloorDiv"}, kinds


def test_sites_are_counted_exactly():
    groups = SiteGroups(1)(tf.zeros((2**24 + 3,), tf.int32))
    assert float(groups.size[0, 0]) == np.float32(2**24 + 3)
