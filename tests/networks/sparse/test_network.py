"""The sparse network against the dense 3D one where every pixel is active, and against plain NumPy where few are."""

from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from cosmictagger_tf.config import with_changes
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.sparse.buckets import bucket_sizes, fill_up
from cosmictagger_tf.networks.sparse.uresnet import build_sparse_uresnet
from cosmictagger_tf.networks.uresnet import build_uresnet
from tests.networks.sparse.examples import (
    SHAPE,
    SMALL,
    at_pixels,
    copy_weights,
    dense_images,
    full_batch,
    random_batch,
    randomise,
    rulebook,
    site_logits,
    sparse_network,
)
from tests.networks.sparse.reference import Reference

TWICE = with_changes(SMALL, blocks_per_layer=2, blocks_deepest_layer=2, blocks_final=2)
WAYS = product(
    (True, False), ("concat", "sum", "none"), ("max_pooling", "convolutional"), ("interpolation", "convolutional")
)
OPTIONS = [dict(zip(("residual", "connections", "downsampling", "upsampling"), way, strict=True)) for way in WAYS] + [
    {"normalization": "none", "bias": False},
    {"normalization": "layer"},
    {"normalization": "group", "n_initial_filters": 4},
    {"normalization": "instance"},
    {"norm_statistics": "per_plane"},
    {"norm_statistics": "pooled"},
    {"growth_rate": "multiplicative", "bias": False},
    {"block_concat": True, "filter_size_deepest": 3},
    {"deepest_3d": "bottleneck"},
    {"wiring": "tensorflow"},
    {"blocks_per_layer": 0, "blocks_final": 0, "blocks_deepest_layer": 0},
    {"network_depth": 3, "blocks_by_level": ("0", "1", "2")},
    {"network_depth": 1},
    {"network_depth": 3},
    {"weight_decay": 0.1},
    {"row_exchange": ("0", "1")},
    {"row_exchange": ("1",), "wiring": "tensorflow", "normalization": "none"},
]


def name_of(options):
    return "-".join(str(value) for value in options.values())


@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_where_all_is_active_it_is_the_3d_network(options):
    config = with_changes(SMALL, **options)
    dense = build_uresnet(with_changes(config, conv_mode="3D"), SHAPE)
    randomise(dense)
    sparse = build_sparse_uresnet(config, SHAPE)
    copy_weights(dense, sparse)
    batch = full_batch()
    book = rulebook(batch, config)
    for training in (False, True):
        expected = at_pixels(dense(dense_images(batch), training=training).numpy(), batch)
        logits = site_logits(sparse, book, training)[book["pixel_sites"]]
        # Normalising by the statistics of a batch amplifies rounding where a channel is nearly constant.
        np.testing.assert_allclose(logits, expected, atol=5e-4 if training else 1e-4, rtol=1e-4)
        assert np.ptp(expected) > 0.1
    # The pass in training mode moved the statistics of both alike, and so they can be exchanged back.
    before = [w.numpy() for w in dense.weights]
    copy_weights(sparse, dense)
    for old, new in zip(before, dense.weights, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-4, err_msg=new.path)
    assert float(sum(sparse.losses)) == pytest.approx(float(sum(dense.losses)), rel=1e-5)


@pytest.mark.parametrize("options", [*OPTIONS, {"descend_charge": 2.0}], ids=name_of)
def test_every_weight_learns_from_a_sparse_image(options):
    network = sparse_network(with_changes(SMALL, **options))
    book = rulebook(random_batch(2), with_changes(SMALL, **options))
    with tf.GradientTape() as tape:
        logits = network({name: book[name] for name in network.input}, training=True)
        loss = ops.sum(ops.square(logits)) + sum(network.losses)
    normalised = options.get("normalization", "batch") not in ("none", "layer")
    for weight, gradient in zip(network.trainable_weights, tape.gradient(loss, network.trainable_weights), strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), weight.path
        # A bias in front of a normalisation by its own statistics has none.
        assert (normalised and "bias" in weight.path) or np.abs(gradient).max() > 0, weight.path


@pytest.mark.parametrize("charge", [0.0, 1.0, 3.0, 1e6])
@pytest.mark.parametrize("pixels", [1, 12, 40, 200])
def test_on_a_sparse_image_it_is_plain_submanifold_arithmetic(pixels, charge):
    config = with_changes(TWICE, descend_charge=charge, row_exchange=("0", "1") if pixels == 40 else ())
    network, batch = sparse_network(config, seed=3), random_batch(9, pixels=pixels + 3)
    images = dense_images(batch)
    active = dense_images({**batch, "image_values": np.float32(batch["image_coordinates"][..., 0] >= 0)}) > 0
    reference = Reference(network, config, SHAPE.planes)
    expected = reference(*(array.reshape(-1, *array.shape[2:]) for array in (images, active)))
    expected = at_pixels(expected.reshape(*images.shape, 3), batch)
    book = rulebook(batch, config)
    logits = site_logits(network, book)
    here = batch["image_coordinates"][..., 0] >= 0
    np.testing.assert_allclose(logits[book["pixel_sites"][here]], expected[here], atol=1e-5, rtol=1e-5)
    assert np.ptp(expected) > 0.5


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalization": "group"},
        {"norm_statistics": "per_plane"},
        {"descend_charge": 1.0},
        {"row_exchange": ("0", "1")},
    ],
    ids=name_of,
)
def test_filled_up_lists_give_the_same(options, training):
    config = with_changes(SMALL, **options)
    batch = random_batch(10)
    book = rulebook(batch, config)
    filled = fill_up(book, bucket_sizes(book, config), config)
    networks = [sparse_network(config, seed=4) for _ in range(2)]
    results = []
    for network, tables in zip(networks, (book, filled), strict=True):
        with tf.GradientTape() as tape:
            logits = network({name: tables[name] for name in network.input}, training=training)[: len(book["values"])]
            loss = ops.sum(ops.sin(logits))
        results.append([logits, *tape.gradient(loss, network.trainable_weights), *network.non_trainable_weights])
    names = ["logits", *(w.path for w in networks[0].trainable_weights + networks[0].non_trainable_weights)]
    scale = 1.0
    for name, one, other in zip(names, *results, strict=True):
        # Longer lists are summed in another order; batch normalisation makes the more of it, the fewer sites there are.
        # It takes a bias before it away, whose gradient is what the numbers that the kernel's is made of leave of 0.
        scale = max(scale if name.endswith("/bias") else 1.0, np.abs(one).max())
        np.testing.assert_allclose(one, other, atol=1e-4 * scale, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "options",
    [{}, {"norm_statistics": "per_plane", "wiring": "tensorflow"}, {"row_exchange": ("0", "1")}],
    ids=name_of,
)
def test_recomputation_changes_nothing(options):
    config = with_changes(SMALL, **options)
    book, results = {k: tf.constant(v) for k, v in rulebook(random_batch(10), config).items()}, []
    for remat in (False, True):
        network = sparse_network(with_changes(config, remat=remat), seed=4)
        with tf.GradientTape() as tape:
            loss = ops.sum(ops.sin(network({name: book[name] for name in network.input}, training=True)))
        results.append([loss, *tape.gradient(loss, network.trainable_weights), *network.non_trainable_weights])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=3e-5, rtol=1e-4)


def test_several_events_at_once_are_as_one_by_one():
    network, batch = sparse_network(), random_batch(11, events=3)
    together = rulebook(batch)
    logits = site_logits(network, together)[np.minimum(together["pixel_sites"], len(together["values"]) - 1)]
    for event in range(3):
        alone = rulebook({name: array[event : event + 1] for name, array in batch.items()})
        here = batch["image_coordinates"][event, ..., 0] >= 0
        expected = site_logits(network, alone)[alone["pixel_sites"][0][here]]
        np.testing.assert_allclose(logits[event][here], expected, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("normalization", ["batch", "group", "none"])
def test_empty_planes_and_empty_events_are_safe(normalization, training):
    config = with_changes(SMALL, normalization=normalization)
    batch = random_batch(12)
    batch["image_coordinates"][0] = batch["image_coordinates"][1, 1] = -1
    batch["image_values"][0] = batch["image_values"][1, 1] = 0
    nothing = {**batch, "image_coordinates": np.full_like(batch["image_coordinates"], -1)}
    nothing["image_values"] = np.zeros_like(batch["image_values"])
    for some in (batch, nothing):
        network, book = sparse_network(config), rulebook(some, config)
        with tf.GradientTape() as tape:
            logits = network({name: book[name] for name in network.input}, training=training)
            loss = ops.sum(ops.square(logits))
        gradients = tape.gradient(loss, network.trainable_weights)
        assert np.isfinite(logits).all() and all(np.isfinite(g).all() for g in gradients)
        assert all(np.isfinite(w).all() for w in network.weights)


def test_a_depth_that_halves_an_odd_size_is_refused():
    with pytest.raises(ConfigError, match="height"):
        build_sparse_uresnet(with_changes(SMALL, network_depth=5), SHAPE)
