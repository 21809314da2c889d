"""The dense UResNet: the battery, every option with every other, sizes and planes, and that what is built is used."""

import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.backend import convolves_channels_first
from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.presets import PRESETS
from tests.networks.battery import as_model, loss_and_gradients, run_battery

SHAPE = ImageShape(3, 16, 32)
SMALL = {"n_initial_filters": 2, "bottleneck_deepest": 4, "blocks_deepest_layer": 1, "blocks_final": 1}
TINY = NetworkConfig(network_depth=1, blocks_per_layer=1, **SMALL)
DENSE_PRESETS = [name for name, config in PRESETS.items() if config.conv_mode != "sparse"]
OPTIONS = {
    "conv_mode": ("2D", "3D"),
    "wiring": ("pytorch", "tensorflow"),
    "connections": ("concat", "sum", "none"),
    "residual": (True, False),
    "normalization": ("batch", "none", "layer", "group", "instance"),
    "norm_statistics": ("auto", "per_plane", "pooled"),
    "downsampling": ("max_pooling", "convolutional"),
    "upsampling": ("interpolation", "convolutional"),
    "growth_rate": ("additive", "multiplicative"),
    "bias": (True, False),
    "block_concat": (False, True),
    "row_exchange": ((), ("0",)),
    "deepest_3d": ("kernel_3x3x3", "bottleneck"),
    "weight_decay": (0.0, 0.01),
    "remat": (False, True),
    "filter_size_deepest": (5, 3),
    "blocks_final": (1, 0),
    "blocks_per_layer": (1, 0),
    "blocks_by_level": ((), ("2",)),
    "blocks_deepest_layer": (1, 0),
    # Where TensorFlow has such convolutions without XLA.
    "data_format": ("channels_last", "channels_first") if convolves_channels_first() else ("channels_last",),
}


def images(shape=SHAPE, batch=2):
    return np.random.default_rng(3).normal(size=(batch, shape.planes, shape.height, shape.width)).astype(np.float32)


def covering_pairs(options, seed=0):
    """Few choices of all options, in which every two values of two options meet."""
    names = list(options)
    waiting = {(a, x, b, y) for a, b in itertools.combinations(names, 2) for x in options[a] for y in options[b]}
    rng = np.random.default_rng(seed)
    while waiting:
        best, most = None, 0
        for _ in range(30):
            choice = {name: values[rng.integers(len(values))] for name, values in options.items()}
            a, x, b, y = next(iter(waiting))
            choice |= {a: x, b: y}
            met = {(a, choice[a], b, choice[b]) for a, b in itertools.combinations(names, 2)} & waiting
            if len(met) > most:
                best, most = (choice, met), len(met)
        waiting -= best[1]
        yield best[0]


def test_covering_pairs_cover():
    met = set()
    for choice in covering_pairs(OPTIONS):
        met |= set(itertools.combinations(choice.items(), 2))
    assert all(
        ((a, x), (b, y)) in met for a, b in itertools.combinations(OPTIONS, 2) for x in OPTIONS[a] for y in OPTIONS[b]
    )


@pytest.mark.slow
def test_every_two_options_build_and_train_together():
    x, tried = images(), 0
    for choice in covering_pairs(OPTIONS):
        network = build_network(with_changes(TINY, **choice), SHAPE)
        assert network(x).shape == (2, 3, 16, 32, 3), choice
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(x, training=True))) + sum(network.losses, 0.0)
        gradients = tape.gradient(loss, network.trainable_weights)
        # Every weight takes part, and what is built is called.
        for weight, gradient in zip(network.trainable_weights, gradients, strict=True):
            assert gradient is not None and np.isfinite(gradient).all(), (choice, weight.path)
        assert bool(network.losses) == bool(choice["weight_decay"])
        tried += 1
    assert tried >= 15


def test_a_graph_gives_what_its_operations_give_one_by_one():
    # TensorFlow's passes join operations of a graph, and oneDNN computes some of these wrongly.
    config = with_changes(TINY, normalization="none", blocks_per_layer=0, blocks_deepest_layer=0)
    network = as_model(build_network(config, SHAPE), SHAPE)
    one_by_one = network(images())
    np.testing.assert_allclose(tf.function(network)(images()), one_by_one, rtol=1e-5, atol=1e-5 * np.ptp(one_by_one))


NETWORKS = {
    "2D": {},
    "3D": {"conv_mode": "3D"},
    "plain_sum": {"residual": False, "connections": "sum"},
    "no_norm_tensorflow": {"normalization": "none", "wiring": "tensorflow"},
    "convolutional": {"downsampling": "convolutional", "upsampling": "convolutional", "bias": False},
    "recomputing": {"remat": True},
}


EXHAUSTIVE = ("plain_sum", "convolutional", "recomputing", "no_norm_tensorflow")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.exhaustive) if n in EXHAUSTIVE else n for n in NETWORKS]
)
def test_battery(name, tmp_path):
    config = with_changes(TINY, **NETWORKS[name])
    run_battery(lambda: as_model(build_network(config, SHAPE), SHAPE), images(), tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"conv_mode": "3D", "row_exchange": ("0",)}, marks=[pytest.mark.slow, pytest.mark.exhaustive]),
        pytest.param(
            {"upsampling": "convolutional", "block_concat": True}, marks=[pytest.mark.slow, pytest.mark.exhaustive]
        ),
    ],
    ids=["2D", "3D", "convolutional"],
)
def test_channels_first_is_channels_last(options):
    last = as_model(build_network(with_changes(TINY, **options), SHAPE), SHAPE)
    first = build_network(with_changes(TINY, data_format="channels_first", **options), SHAPE)
    first.set_weights(last.get_weights())
    for training in (False, True):
        one, other = (loss_and_gradients(network, images(), training, jit=True) for network in (last, first))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * max(1.0, np.abs(a).max()))
    # Without XLA too, where TensorFlow has such convolutions.
    if convolves_channels_first():
        np.testing.assert_allclose(first(images()), last(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("onednn", ["0", "1"])
def test_channels_first_is_refused_where_tensorflow_cannot(onednn):
    # Whether it uses oneDNN is decided once a process: by the environment, or else by the processor.
    code = (
        "from cosmictagger_tf.config import NetworkConfig; from cosmictagger_tf.detector import ImageShape; "
        "from cosmictagger_tf.networks.build import build_segmenter; "
        "config = NetworkConfig(network_depth=1, n_initial_filters=2, data_format='channels_first'); "
        "build_segmenter(config, ImageShape(1, 4, 4), static=True); build_segmenter(config, ImageShape(1, 4, 4))"
    )
    environment = {
        **os.environ,
        "TF_ENABLE_ONEDNN_OPTS": onednn,
        "CUDA_VISIBLE_DEVICES": "",
        "KERAS_BACKEND": "tensorflow",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if onednn == "1":
        assert done.returncode == 0, done.stderr
    else:
        assert (
            "ConfigError: --data_format=channels_first: TensorFlow has no such convolutions for this CPU" in done.stderr
        )


@pytest.mark.parametrize("mode", ["2D", "3D"])
def test_rows_learn_from_the_same_rows_of_the_other_planes(mode):
    # Apart at the deepest level, and without blocks.
    apart = with_changes(TINY, conv_mode=mode, block_concat=True, blocks_per_layer=0, blocks_deepest_layer=0)
    apart = with_changes(apart, blocks_final=0)
    one = images()
    other = one.copy()
    other[:, 1, 7, 20] += 5.0
    for exchange in ((), ("0",)):
        network = build_network(with_changes(apart, row_exchange=exchange), SHAPE)
        changed = np.abs(network(one).numpy() - network(other).numpy()).max(axis=(0, 3, 4)) > 0
        assert changed[1].any()
        # Its own plane hears of the pixel in rows 3 to 10, through the coarse level; the others two rows further.
        expected = set(range(1, 13)) if exchange else set()
        for plane in (0, 2):
            assert set(np.flatnonzero(changed[plane])) <= expected
            assert changed[plane].any() == bool(exchange)


@pytest.mark.parametrize("planes", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["2D", "3D"])
def test_any_number_of_planes(planes, mode):
    shape = ImageShape(planes, 8, 8)
    for changes in ({}, {"deepest_3d": "bottleneck"}, {"block_concat": True}, {"row_exchange": ("0",)}):
        network = build_network(with_changes(TINY, conv_mode=mode, **changes), shape)
        assert network(images(shape), training=True).shape == (2, planes, 8, 8, 3)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (12, 20), (20, 4), (4, 36)])
def test_any_size_that_the_depth_divides(height, width):
    shape = ImageShape(3, height, width)
    assert build_network(with_changes(TINY, network_depth=2), shape)(images(shape)).shape == (2, 3, height, width, 3)


@pytest.mark.parametrize(("height", "width", "message"), [(18, 16, "height"), (16, 18, "width")])
def test_an_odd_size_on_the_way_is_refused_by_name(height, width, message):
    with pytest.raises(ConfigError, match=message):
        build_network(with_changes(TINY, network_depth=2), ImageShape(3, height, width))


@pytest.mark.parametrize("name", DENSE_PRESETS)
def test_every_preset_has_all_its_blocks(name):
    config = PRESETS[name]
    network = build_network(config, ImageShape(3, 128, 128))
    convolutions = [layer for layer in network.layers if layer.name.endswith("_conv")]
    per_block = 2 if config.residual else 1
    blocks = 2 * config.network_depth * config.blocks_per_layer + config.blocks_deepest_layer + config.blocks_final
    joins = config.network_depth if config.connections == "concat" else 0
    assert len(convolutions) == 1 + per_block * blocks + 2 * config.network_depth + 2 + joins
    # A functional model's layers are all on the way from its input to its output.
    assert len(network.trainable_weights) == len(set(map(id, network.trainable_weights)))
    norms = [layer for layer in network.layers if layer.name.endswith("_norm")]
    assert len(norms) == (0 if config.normalization == "none" else len(convolutions))


@pytest.mark.parametrize("conv_mode", ["2D", "3D", "sparse"])
def test_levels_have_the_blocks_that_are_asked_for(conv_mode):
    config = with_changes(TINY, conv_mode=conv_mode, network_depth=3, blocks_by_level=("0", "2", "1"))
    names = {layer.name for layer in build_network(config, SHAPE).layers}
    for depth, expected in enumerate((0, 2, 1)):
        for way in ("down", "up"):
            assert sum(f"level{depth}_{way}_{i}_1_conv" in names for i in range(9)) == expected


@pytest.mark.parametrize("wiring", ["pytorch", "tensorflow"])
def test_without_connections_the_way_up_is_what_comes_out(wiring):
    network = build_network(with_changes(TINY, connections="none", wiring=wiring), SHAPE)
    x = images()
    before = np.asarray(network(x))
    layer = network.get_layer("deepest_unbottleneck_norm")
    layer.beta.assign(layer.beta + 1.0)
    # The deepest layer has no other way to the output than the way up.
    assert np.abs(np.asarray(network(x)) - before).max() > 1e-3


@pytest.mark.parametrize("mode", ["2D", "3D"])
def test_the_planes_meet_at_the_deepest_level_only(mode):
    x = images()
    other = x.copy()
    other[:, 1] += 1.0
    for apart in (False, True):
        config = with_changes(TINY, conv_mode=mode, block_concat=apart)
        network = as_model(build_network(config, SHAPE), SHAPE)
        change = np.abs(np.asarray(network(x)) - np.asarray(network(other))).max(axis=(0, 2, 3, 4))
        assert change[1] > 1e-3
        assert (change[[0, 2]] == 0).all() == apart


def test_initial_weights_are_glorot_uniform_and_zero():
    network = build_network(with_changes(TINY, n_initial_filters=16), SHAPE)
    kernel = network.get_layer("level0_down_0_1_conv").kernel.numpy()
    limit = np.sqrt(6 / (9 * 16 + 9 * 16))
    assert np.abs(kernel).max() <= limit and kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.1)
    assert not np.asarray(network.get_layer("level0_down_0_1_conv").bias).any()


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_logits_are_float32(precision):
    from tests.networks.battery import dtype_policy

    with dtype_policy(precision):
        for remat in (False, True):
            network = build_network(with_changes(TINY, remat=remat), SHAPE)
            assert network(images(), training=True).dtype == "float32"
            assert keras.ops.dtype(network.output) == "float32"
