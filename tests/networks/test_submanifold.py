"""The dense network whose empty pixels stay empty: it is the sparse one, and a network like any other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.blocks import EMPTY_LOGITS
from cosmictagger_tf.networks.normalization import PlaneBatchNormalization
from cosmictagger_tf.networks.submanifold import charge_around
from cosmictagger_tf.networks.uresnet import build_uresnet
from tests.networks.battery import as_model, loss_and_gradients, run_battery
from tests.networks.sparse import reference
from tests.networks.sparse.examples import (
    SHAPE,
    SMALL,
    at_pixels,
    copy_weights,
    dense_images,
    random_batch,
    randomise,
    rulebook,
    sparse_network,
)

EXHAUSTIVE = [pytest.mark.slow, pytest.mark.exhaustive]
# Options of both networks, and whether in training mode.
CASES = [
    ({}, False),
    ({"descend_charge": 3.0, "network_depth": 3, "row_exchange": ("0", "2")}, True),
    (
        {"residual": False, "connections": "sum", "downsampling": "convolutional", "upsampling": "convolutional"},
        True,
    ),
    ({"connections": "none", "wiring": "tensorflow", "norm_statistics": "per_plane", "descend_charge": 1.0}, True),
    ({"normalization": "none", "row_exchange": ("1",)}, True),
    pytest.param({}, True, marks=EXHAUSTIVE),
    pytest.param({"descend_charge": 3.0, "network_depth": 3}, False, marks=EXHAUSTIVE),
    pytest.param({"normalization": "layer", "bias": False}, True, marks=EXHAUSTIVE),
    pytest.param({"block_concat": True, "filter_size_deepest": 3, "network_depth": 1}, True, marks=EXHAUSTIVE),
]


def dense_counterpart(config):
    return with_changes(config, conv_mode="3D", submanifold=True)


@pytest.mark.parametrize(("options", "training"), CASES, ids=str)
def test_it_is_the_sparse_network(options, training):
    config = with_changes(SMALL, **options)
    sparse, batch = sparse_network(config, seed=5), random_batch(9)
    dense = build_uresnet(dense_counterpart(config), SHAPE)
    randomise(dense, seed=6)
    copy_weights(sparse, dense)
    book = {name: tf.constant(table) for name, table in rulebook(batch, config).items()}
    images, here = dense_images(batch), batch["image_coordinates"][..., 0] >= 0
    with tf.GradientTape() as sparse_tape:
        at_sites = sparse({name: book[name] for name in sparse.input}, training=training)
        sparse_loss = tf.reduce_sum(tf.sin(at_sites))
    with tf.GradientTape() as dense_tape:
        everywhere = dense(images, training=training)
        dense_loss = tf.reduce_sum(tf.sin(everywhere[images != 0]))
    expected = at_sites.numpy()[book["pixel_sites"].numpy()[here]]
    np.testing.assert_allclose(at_pixels(everywhere.numpy(), batch)[here], expected, atol=2e-4, rtol=1e-4)
    assert (everywhere.numpy()[images == 0] == EMPTY_LOGITS).all() and np.ptp(expected) > 0.1
    expected, gradients = (
        {w.path: g for w, g in zip(weights, tape.gradient(loss, weights), strict=True)}
        for tape, loss, weights in (
            (sparse_tape, sparse_loss, sparse.trainable_weights),
            (dense_tape, dense_loss, dense.trainable_weights),
        )
    )
    assert expected.keys() == gradients.keys()
    for name, gradient in expected.items():
        # A bias before a normalisation has a gradient of 0, and rounding.
        atol = 1e-3 * max(1.0, np.abs(gradient).max())
        np.testing.assert_allclose(gradients[name], gradient, atol=atol, rtol=1e-3, err_msg=name)
    # Moving statistics moved alike.
    copies = {w.path: w.numpy() for w in sparse.non_trainable_weights}
    for weight in dense.non_trainable_weights:
        np.testing.assert_allclose(weight, copies[weight.path], atol=1e-5, rtol=1e-4, err_msg=weight.path)


def test_empty_planes_and_empty_events_are_safe():
    network = build_uresnet(dense_counterpart(with_changes(SMALL, norm_statistics="per_plane")), SHAPE)
    images = dense_images(random_batch(12))
    images[0] = images[1, 1] = 0
    for some in (images, np.zeros_like(images)):
        with tf.GradientTape() as tape:
            logits = network(some, training=True)
            loss = tf.reduce_sum(tf.square(logits))
        gradients = tape.gradient(loss, network.trainable_weights)
        assert np.isfinite(logits).all() and np.isfinite(network(some)).all()
        assert all(np.isfinite(g).all() for g in gradients)
        assert all(np.isfinite(w).all() for w in network.weights)


def test_charge_around_a_pixel():
    images = np.random.default_rng(2).normal(size=(2, 8, 12)).astype(np.float32)
    np.testing.assert_allclose(charge_around(images), reference.charge_around(images), rtol=1e-5)


CONFIG = NetworkConfig(
    conv_mode="3D",
    submanifold=True,
    descend_charge=1.0,
    row_exchange=("0",),
    n_initial_filters=2,
    network_depth=2,
    blocks_per_layer=0,
    blocks_deepest_layer=0,
    blocks_final=0,
    bottleneck_deepest=4,
)
EVENTS = dense_images(random_batch(3, pixels=60))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, pytest.param({"conv_mode": "2D"}, marks=pytest.mark.exhaustive)], ids=str)
def test_battery(options, tmp_path):
    config = with_changes(CONFIG, **options)
    run_battery(lambda: as_model(build_uresnet(config, SHAPE), SHAPE), EVENTS, tmp_path)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("options", [{"data_format": "channels_first"}, {"remat": True}], ids=str)
def test_layout_and_recomputation_change_nothing(options):
    plain = as_model(build_uresnet(CONFIG, SHAPE), SHAPE)
    other = build_uresnet(with_changes(CONFIG, **options), SHAPE)
    other.set_weights(plain.get_weights())
    results = (loss_and_gradients(network, EVENTS, True, jit=True) for network in (plain, other))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * max(1.0, np.abs(a).max()))


class Meeting:
    """Two threads in the place of two processes, which take the mean of what both have."""

    def __init__(self):
        self.barrier, self.given = threading.Barrier(2, timeout=60), {}

    def mean_of(self, rank):
        def mean(mine):
            self.given[rank] = mine
            self.barrier.wait()
            average = (self.given[0] + self.given[1]) / 2
            self.barrier.wait()
            return average

        return mean


def test_statistics_over_processes_weigh_each_by_its_active_pixels():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6, 4, 8, 2)).astype(np.float32) + np.repeat([0, 2], 3)[:, None, None, None]
    active = np.float32(rng.uniform(size=(6, 4, 8, 1)) < np.repeat([0.8, 0.2], 3)[:, None, None, None])
    meeting, whole = Meeting(), PlaneBatchNormalization(planes=3, bessel=True, momentum=0.5)
    expected = whole(x, active, training=True)

    def normalised(rank):
        layer = PlaneBatchNormalization(planes=3, bessel=True, momentum=0.5)
        layer.synchronise(meeting.mean_of(rank), 2)
        mine = slice(3 * rank, 3 * rank + 3)
        return layer(x[mine], active[mine], training=True), layer

    with ThreadPoolExecutor(2) as threads:
        parts = list(threads.map(normalised, range(2)))
    np.testing.assert_allclose(np.concatenate([y for y, _ in parts]), expected, rtol=1e-4, atol=1e-5)
    for _, layer in parts:
        for one, other in zip(layer.weights, whole.weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"conv_mode": "sparse", "submanifold": True}, "--submanifold: .*sparse"),
        ({"submanifold": True, "normalization": "group"}, "--normalization=group: would count the empty pixels"),
        ({"descend_charge": 1.0}, "--descend_charge: is for --conv_mode=sparse or --submanifold"),
    ],
)
def test_what_cannot_be_is_refused(options, wrong):
    with pytest.raises(ConfigError, match=wrong):
        NetworkConfig(**options)
