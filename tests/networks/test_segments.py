"""Segments that share a function, or are computed again, change no number."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from tests.networks.battery import as_model, dtype_policy, loss_and_gradients

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


def networks(**changes):
    """Of the same weights: the plain functional model, one that shares functions, one that recomputes."""
    config = with_changes(CONFIG, blocks_per_layer=2, **changes)
    plain, shared, recomputing = (build_network(with_changes(config, remat=r), SHAPE) for r in (False, False, True))
    plain.shares = False
    as_model(plain, SHAPE)
    for network in (shared, recomputing):
        network.set_weights(plain.get_weights())
    return plain, shared, recomputing


JIT = pytest.param(True, marks=[pytest.mark.slow, pytest.mark.exhaustive])
CHANGES = [{}, {"conv_mode": "3D", "deepest_3d": "bottleneck"}]
CHANGES += [
    pytest.param(changes, marks=[pytest.mark.slow, pytest.mark.exhaustive])
    for changes in ({"conv_mode": "3D"}, {"wiring": "tensorflow", "connections": "sum"})
]


@pytest.mark.parametrize("jit", [False, JIT], ids=["plain", "xla"])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_outputs_and_gradients_are_equal(changes, jit):
    expected, *others = (loss_and_gradients(m, X, True, jit) for m in networks(**changes))
    for values in others:
        for one, other in zip(expected, values, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(one).max()))


def test_half_precision_gives_the_same_in_segments():
    with dtype_policy("mixed_bfloat16"):
        expected, *others = (loss_and_gradients(m, X, True, False) for m in networks())
    for values in others:
        for one, other in zip(expected, values, strict=True):
            # bfloat16 has eight bits.
            np.testing.assert_allclose(one, other, rtol=0.1, atol=0.02 * max(1.0, np.abs(one).max()))


@pytest.mark.parametrize("changes", [{}, {"connections": "none"}], ids=str)
def test_moving_statistics_are_updated_once_and_those_of_frozen_layers_never(changes):
    models = networks(**changes)
    frozen = "level0_up_1_2_norm"
    before = models[0].get_weights()
    for model in models:
        model.get_layer(frozen).trainable = False
        loss_and_gradients_kept(model)
    changed = []
    for old, one, *others in zip(before, *(model.variables for model in models), strict=True):
        for other in others:
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6, atol=1e-6)
        changed += [one.path] if not np.array_equal(old, one.numpy()) else []
    assert len(changed) > 10 and not any(frozen in path for path in changed)


def loss_and_gradients_kept(model):
    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(X, training=True)))
        return tape.gradient(loss, model.trainable_weights)

    step()


def test_blocks_alike_share_one_function():
    def functions(model):
        graph = tf.function(lambda x: model(x, training=True)).get_concrete_function(X).graph
        return [op.get_attr("f").name for op in graph.get_operations() if op.type.endswith("PartitionedCall")]

    shared, plain = (build_network(with_changes(CONFIG, blocks_per_layer=2), SHAPE) for _ in range(2))
    plain.shares = False
    # Two blocks on the way down, two on the way up and the final one.
    assert len(functions(shared)) == 5 and len(set(functions(shared))) == 1
    assert functions(plain) == []


def test_saved_models_come_back_in_segments(tmp_path):
    for model in networks()[1:]:
        model.save(tmp_path / "a.keras")
        again = keras.saving.load_model(tmp_path / "a.keras")
        assert type(again) is type(model)
        np.testing.assert_array_equal(again(X), model(X))
        for one, other in zip(*(loss_and_gradients(m, X, True, False) for m in (model, again)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_weights_files_are_exchanged(tmp_path):
    plain, _, recomputing = networks()
    recomputing.save_weights(tmp_path / "a.weights.h5")
    other = build_network(with_changes(CONFIG, blocks_per_layer=2), SHAPE)
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

        with model.unshared():
            return sum(op.type == "Conv2D" for op in step.get_concrete_function(X).graph.get_operations())

    plain, _, recomputing = map(convolutions, networks())
    assert recomputing >= 2 * plain - 1
