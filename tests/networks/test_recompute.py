"""Recomputation changes when activations are held, and nothing else."""

import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from tests.networks.battery import as_model, loss_and_gradients

SHAPE = ImageShape(3, 16, 32)
CONFIG = NetworkConfig(
    n_initial_filters=2,
    network_depth=1,
    blocks_per_layer=1,
    blocks_deepest_layer=1,
    blocks_final=1,
    bottleneck_deepest=4,
)
X = np.random.default_rng(3).normal(size=(2, 3, 16, 32)).astype(np.float32)


def pair(**changes):
    plain = as_model(build_network(with_changes(CONFIG, **changes), SHAPE), SHAPE)
    recomputing = build_network(with_changes(CONFIG, remat=True, **changes), SHAPE)
    recomputing.set_weights(plain.get_weights())
    return plain, recomputing


@pytest.mark.parametrize(
    "jit", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.exhaustive])], ids=["plain", "xla"]
)
@pytest.mark.parametrize("changes", [{}, {"conv_mode": "3D"}, {"wiring": "tensorflow", "connections": "sum"}], ids=str)
def test_outputs_and_gradients_are_equal(changes, jit):
    plain, recomputing = pair(**changes)
    for one, other in zip(*(loss_and_gradients(m, X, True, jit) for m in (plain, recomputing)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(one).max()))


@pytest.mark.parametrize("changes", [{}, {"connections": "none"}], ids=str)
def test_moving_statistics_are_updated_once(changes):
    plain, recomputing = pair(**changes)
    before = plain.get_weights()
    for model in (plain, recomputing):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(X, training=True)))
        tape.gradient(loss, model.trainable_weights)
    changed = 0
    for old, one, other in zip(before, plain.get_weights(), recomputing.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
        changed += not np.array_equal(old, one)
    assert changed > 10


def test_weights_files_are_exchanged(tmp_path):
    plain, recomputing = pair()
    recomputing.save_weights(tmp_path / "a.weights.h5")
    other = build_network(CONFIG, SHAPE)
    other.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(other(X), plain(X))


def test_the_backward_pass_computes_again():
    # What is held between the passes is what the tape's operations take: count the convolutions of the graph.
    def convolutions(model):
        @tf.function
        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(x, training=True)))
            return tape.gradient(loss, model.trainable_weights)

        return sum(op.type == "Conv2D" for op in step.get_concrete_function(X).graph.get_operations())

    plain, recomputing = (convolutions(model) for model in pair())
    assert recomputing >= 2 * plain - 1
