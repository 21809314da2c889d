"""The heads for event and vertex, on every form of the network: the reference's own outputs are in tests/parity."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.backend import convolves_channels_first
from cosmictagger_tf.config import with_changes
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.segmentation import EVENT, PIXELS, VERTEX
from cosmictagger_tf.networks.sparse.buckets import bucket_sizes, fill_up
from tests.commands import ROOT
from tests.networks.battery import dtype_policy
from tests.networks.sparse.examples import (
    SHAPE,
    SMALL,
    copy_weights,
    dense_images,
    full_batch,
    random_batch,
    randomise,
    rulebook,
)

HEADS = {"event_head": True, "event_filters": 4, "event_blocks": 1}
HEADS |= {"vertex_head": True, "vertex_filters": 4, "vertex_blocks": 1, "vertex_depth": 1}
SPARSE = with_changes(SMALL, blocks_per_layer=0, blocks_final=0, **HEADS)
FORMS = {
    "2D": {"conv_mode": "2D"},
    "3D": {"conv_mode": "3D"},
    "sparse": {},
    "submanifold": {"conv_mode": "3D", "submanifold": True},
    "2D_submanifold": {"conv_mode": "2D", "submanifold": True},
    "sites": {"head_design": "sites"},
    "submanifold_sites": {"conv_mode": "3D", "submanifold": True, "head_design": "sites"},
}
if convolves_channels_first():
    FORMS["channels_first"] = {"conv_mode": "2D", "data_format": "channels_first"}


def inputs_of(config, batch):
    """What a network takes of a Batch."""
    if config.conv_mode != "sparse":
        return tf.constant(dense_images(batch))
    book = rulebook(batch, config)
    return {name: tf.constant(table) for name, table in book.items() if name != "pixel_sites"}


def network_of(config, seed=0):
    network = build_network(config, SHAPE)
    randomise(network, seed)
    return network


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def config(request):
    return with_changes(SPARSE, **request.param)


def test_pixels_are_what_they_are_without_heads(config):
    without = network_of(with_changes(config, event_head=False, vertex_head=False))
    network = build_network(config, SHAPE)
    names = {layer.name for layer in without.layers if layer.weights}
    new = {layer.name for layer in network.layers if layer.weights} - names
    assert new and all(name.startswith(("event_", "vertex_")) for name in new)
    for name in names:
        network.get_layer(name).set_weights(without.get_layer(name).get_weights())
    inputs = inputs_of(config, random_batch(3))
    for training in (False, True):
        outputs, pixels = network(inputs, training=training), without(inputs, training=training)
        np.testing.assert_array_equal(outputs[PIXELS], pixels)
        assert outputs[EVENT].shape == (2, 4) and outputs[VERTEX].shape == (2, 3, 8, 12, 3)
        assert outputs[EVENT].dtype == outputs[VERTEX].dtype == "float32"
        bounded = outputs[VERTEX] if config.head_design == "reference" else outputs[VERTEX][..., 0]
        assert np.min(bounded) >= 0 and np.max(bounded) <= 1


@pytest.mark.parametrize("only", [EVENT, VERTEX])
def test_one_head_alone(only):
    other = {EVENT: VERTEX, VERTEX: EVENT}[only]
    config = with_changes(SPARSE, conv_mode="2D", **{f"{other}_head": False})
    assert set(network_of(config)(inputs_of(config, random_batch(3)))) == {PIXELS, only}


def reached_by(network, inputs, head) -> set[str]:
    """The layers that a loss of one output has gradients for, in training mode."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(network(inputs, training=True)[head]))
    weights = network.trainable_weights
    return {
        weight.path.split("/")[-2]
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True)
        if gradient is not None and np.abs(gradient).max() > 0
    }


def test_detach_lets_no_gradient_of_a_head_into_the_network_below(config):
    inputs = inputs_of(config, random_batch(3))
    for detached in (EVENT, VERTEX):
        network = network_of(with_changes(config, **{f"{name}_detach": name == detached for name in (EVENT, VERTEX)}))
        for head in (EVENT, VERTEX):
            reached = reached_by(network, inputs, head)
            block = "event_0" if (head, config.head_design) == (EVENT, "sites") else f"{head}_0_1_conv"
            assert {f"{head}_input", block, f"{head}_output"} <= reached
            # The trunk's first layer is below both.
            assert ("initial_conv" in reached) == (head != detached)
            assert head != detached or all(name.startswith(f"{head}_") for name in reached)


EXHAUSTIVE = [pytest.mark.slow, pytest.mark.exhaustive]
OPTIONS = [
    {"residual": False, "connections": "sum", "event_blocks": 2, "vertex_blocks": 2},
    {"block_concat": True, "filter_size_deepest": 3, "normalization": "none", "bias": False},
]
OPTIONS += [
    pytest.param(options, marks=EXHAUSTIVE)
    for options in (
        {"normalization": "layer", "wiring": "tensorflow", "connections": "none"},
        {"row_exchange": ("0", "1"), "growth_rate": "multiplicative", "event_blocks": 0, "vertex_blocks": 0},
        {"deepest_3d": "bottleneck", "downsampling": "convolutional", "upsampling": "convolutional"},
    )
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("form", ["2D", "sparse", "sites"])
def test_every_layer_of_a_head_is_used_whatever_the_networks_options(form, options):
    config = with_changes(SPARSE, **FORMS[form], **options)
    batch = random_batch(3)
    batch["image_coordinates"][0, 1], batch["image_values"][0, 1] = -1, 0
    network, inputs = network_of(config), inputs_of(config, batch)
    for head in (EVENT, VERTEX):
        layers = {layer.name for layer in network.layers if layer.trainable_weights and layer.name.startswith(head)}
        assert layers == reached_by(network, inputs, head)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("design", ["reference", "sites"])
@pytest.mark.parametrize("changes", [{}, {"vertex_depth": 2, "network_depth": 3, "descend_charge": 1.0}], ids=str)
def test_the_sparse_network_is_the_submanifold_one(changes, design, training):
    if design == "sites":
        changes = {**changes, "head_design": design, "event_joins_pixels": True, "normalise_charge": True}
    config = with_changes(SPARSE, event_detach=False, vertex_detach=False, **changes)
    dense_config = with_changes(config, conv_mode="3D", submanifold=True)
    sparse, dense = network_of(config, seed=5), network_of(dense_config, seed=6)
    copy_weights(sparse, dense)
    results = []
    for network, its in ((sparse, config), (dense, dense_config)):
        with tf.GradientTape() as tape:
            outputs = network(inputs_of(its, random_batch(9)), training=training)
            loss = sum(tf.reduce_sum(tf.sin(3 * outputs[name])) for name in (EVENT, VERTEX))
        weights = network.trainable_weights
        gradients = {w.path: g for w, g in zip(weights, tape.gradient(loss, weights), strict=True) if g is not None}
        results.append((outputs, gradients))
    (outputs, gradients), (expected, expected_gradients) = results
    for name in (EVENT, VERTEX):
        np.testing.assert_allclose(outputs[name], expected[name], atol=2e-5)
    # Cells without a pixel have no vertex.
    assert 0.1 < np.mean(np.all(np.asarray(outputs[VERTEX]) == 0, axis=-1)) < 0.9
    for name in gradients.keys() & expected_gradients.keys():
        scale = max(1.0, np.abs(expected_gradients[name]).max())
        np.testing.assert_allclose(gradients[name], expected_gradients[name], atol=1e-3 * scale, err_msg=name)
    assert any("initial_conv" in name for name in gradients)


def test_where_all_is_active_the_sparse_network_is_the_3d_one():
    config, dense_config = SPARSE, with_changes(SPARSE, conv_mode="3D")
    sparse, dense = network_of(config, seed=5), network_of(dense_config, seed=6)
    copy_weights(sparse, dense)
    for name in (EVENT, VERTEX):
        one, other = (n(inputs_of(c, full_batch()))[name] for n, c in ((sparse, config), (dense, dense_config)))
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("form", ["sparse", "sites"])
def test_filled_up_lists_change_nothing(form):
    config, batch = with_changes(SPARSE, **FORMS[form]), random_batch(10)
    network, book = network_of(config), rulebook(batch, config)
    filled = fill_up(book, bucket_sizes(book, config), config)
    expected, outputs = (network({name: b[name] for name in network.input}) for b in (book, filled))
    for name in (EVENT, VERTEX):
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5)


def test_empty_events_are_safe():
    batch = random_batch(10)
    empty = {**batch, "image_coordinates": np.full_like(batch["image_coordinates"], -1)}
    empty["image_values"] = np.zeros_like(batch["image_values"])
    for form in FORMS.values():
        config = with_changes(SPARSE, **form)
        outputs = network_of(config)(inputs_of(config, empty), training=True)
        assert all(np.isfinite(outputs[name]).all() for name in (PIXELS, EVENT, VERTEX))
        if config.conv_mode == "sparse" or config.submanifold:
            assert not np.any(outputs[VERTEX])


def some_of(*pairs):
    """The first two pairs of a form and a switch; the others, and all with the switch the other way, are exhaustive."""
    others = [*pairs[2:], *((form, not switch) for form, switch in pairs)]
    return [*pairs[:2], *(pytest.param(*pair, marks=EXHAUSTIVE) for pair in others)]


FOUR = [("2D", True), ("sites", False), ("submanifold", True), ("sparse", False)]


def loss_and_gradients(network, inputs, jit=False):
    """Of a loss of all outputs in training mode, by weights' paths."""

    @tf.function(jit_compile=jit)
    def step(inputs):
        with tf.GradientTape() as tape:
            outputs = network(inputs, training=True)
            loss = sum(tf.reduce_mean(tf.sin(tf.cast(output, tf.float32))) for output in outputs.values())
        return loss, tape.gradient(loss, network.trainable_weights)

    loss, gradients = step(inputs)
    return [loss, *gradients]


@pytest.mark.parametrize(("form", "detach"), some_of(*FOUR))
def test_segments_and_recomputation_change_nothing(form, detach):
    config = with_changes(SPARSE, **FORMS[form], event_detach=detach, vertex_detach=detach, event_blocks=2)
    networks = [network_of(with_changes(config, remat=remat)) for remat in (False, False, True)]
    networks[0].shares = False
    inputs = inputs_of(config, random_batch(4))
    expected, *others = ([*loss_and_gradients(n, inputs), *n.non_trainable_weights] for n in networks)
    for values in others:
        for one, other in zip(expected, values, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(one).max()))


@pytest.mark.parametrize(("form", "remat"), some_of(*FOUR))
def test_a_keras_file_holds_the_heads(form, remat, tmp_path):
    config = with_changes(SPARSE, **FORMS[form], remat=remat)
    network, inputs = network_of(config), inputs_of(config, random_batch(4))
    network.save(tmp_path / "heads.keras")
    loaded = keras.saving.load_model(tmp_path / "heads.keras")
    assert type(loaded) is type(network)
    expected, outputs = network(inputs), loaded(inputs)
    for name in (PIXELS, EVENT, VERTEX):
        np.testing.assert_array_equal(outputs[name], expected[name])
    for one, other in zip(*(loss_and_gradients(n, inputs) for n in (network, loaded)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["2D", "sparse", "submanifold", "sites", "submanifold_sites"])
def test_xla_and_half_precision(form):
    config = with_changes(SPARSE, **FORMS[form])
    network, inputs = network_of(config), inputs_of(config, random_batch(4))
    weights = network.get_weights()
    plain, compiled = (loss_and_gradients(network, inputs, jit) for jit in (False, True))
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * max(1.0, np.abs(one).max()))
    network.set_weights(weights)
    expected = network(inputs)
    with dtype_policy("mixed_float16"):
        half = build_network(config, SHAPE)
    half.set_weights(weights)
    outputs = half(inputs)
    for name in (EVENT, VERTEX):
        assert outputs[name].dtype == "float32"
        np.testing.assert_allclose(outputs[name], expected[name], atol=0.03 * max(1.0, np.abs(expected[name]).max()))


ELSEWHERE = """
import sys
import keras
import numpy as np
from tests.networks.test_heads import outputs_by_form
assert keras.backend.backend() == sys.argv[1]
np.savez(sys.argv[2], **outputs_by_form())
"""


def outputs_by_form() -> dict:
    """The outputs of three forms in both modes, NumPy, on whatever backend."""
    results, batch = {}, random_batch(30)
    for form in ("2D", "sparse", "submanifold", "sites", "submanifold_sites"):
        config = with_changes(SPARSE, **FORMS[form])
        network = network_of(config)
        inputs = (
            {n: rulebook(batch, config)[n] for n in network.input}
            if config.conv_mode == "sparse"
            else dense_images(batch)
        )
        for training in (False, True):
            for name, value in network(inputs, training=training).items():
                value = keras.ops.convert_to_numpy(keras.ops.stop_gradient(value))
                results[f"{form} {name} {training}"] = value
    return results


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_gives_the_same(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ELSEWHERE, backend, str(tmp_path / "results.npz")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    expected = outputs_by_form()
    with np.load(tmp_path / "results.npz") as results:
        assert set(results.files) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(results[name], values, atol=1e-4, rtol=1e-4, err_msg=name)


def test_cells_of_one_pixel_are_refused():
    with pytest.raises(ConfigError, match="--vertex_depth=2: must be less than --network_depth=2"):
        with_changes(SPARSE, vertex_depth=2)


def test_heads_of_sites_are_for_sparse_networks():
    with pytest.raises(ConfigError, match="--head_design=sites: is for --conv_mode=sparse, or --conv_mode=3D with"):
        with_changes(SPARSE, conv_mode="2D", head_design="sites")
    with pytest.raises(ConfigError, match="--event_joins_pixels: there is no --event_head"):
        with_changes(SPARSE, event_head=False, event_joins_pixels=True)


def probabilities(logits):
    return keras.ops.convert_to_numpy(keras.ops.softmax(keras.ops.cast(logits, "float64"), axis=-1))


@pytest.mark.parametrize("form", ["2D", "sparse", "sites", "submanifold_sites"])
def test_a_pixel_is_of_a_neutrino_as_far_as_its_readout_has_one(form):
    apart = with_changes(SPARSE, **FORMS[form])
    joined = with_changes(apart, event_joins_pixels=True)
    inputs = inputs_of(apart, random_batch(3))
    networks = [network_of(config) for config in (apart, joined)]
    copy_weights(*networks)
    one, other = (network(inputs) for network in networks)
    np.testing.assert_array_equal(one[EVENT], other[EVENT])
    has_neutrino = 1 - probabilities(one[EVENT])[:, 3]
    assert has_neutrino.max() < 0.99
    before, after = probabilities(one[PIXELS]), probabilities(other[PIXELS])
    if joined.conv_mode == "sparse":
        has_neutrino = has_neutrino[np.asarray(inputs["images_0"]) // 3]
    else:
        has_neutrino = has_neutrino[:, None, None, None]
    np.testing.assert_allclose(after[..., 2], before[..., 2] * has_neutrino, rtol=1e-4, atol=1e-7)
    # The others keep their proportion.
    np.testing.assert_allclose(after[..., 0] * before[..., 1], after[..., 1] * before[..., 0], rtol=1e-4, atol=1e-9)
    assert "event_output" not in reached_by(networks[1], inputs, PIXELS)
