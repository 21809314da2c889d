"""What every layer and every network must stand: one battery, given a maker and an input."""

import keras
import numpy as np
import tensorflow as tf

POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


def run_battery(make, x, tmp_path, *, mixed_tolerance=0.05):
    """Call, save and load (.keras and weights), serialisation, half precisions, XLA.

    Args:
        make: builds a new layer or model under the current dtype policy.
        x: float32, an input.
        tmp_path: for files.
        mixed_tolerance: largest error in half precision, as a part of the largest output.
    """
    model = as_model(make(), x.shape)
    expected = np.asarray(model(x))
    assert np.isfinite(expected).all() and np.ptp(expected) > 0
    _saved_and_loaded(model, x, expected, tmp_path)
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    np.testing.assert_allclose(copy(x), expected, rtol=1e-5, atol=1e-5)
    # XLA, in both modes, and backwards.
    for training in (False, True):
        plain, compiled = (loss_and_gradients(model, x, training, jit) for jit in (False, True))
        for one, other in zip(plain, compiled, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * max(1.0, np.abs(one).max()))
    scale = np.abs(expected).max()
    for policy in POLICIES[1:]:
        with dtype_policy(policy):
            half = as_model(make(), x.shape)
        half.set_weights(model.get_weights())
        assert all(w.dtype == "float32" for w in half.weights)
        error = np.abs(np.asarray(half(x), np.float32) - expected).max()
        assert error < mixed_tolerance * scale, policy
        # Without normalisation outputs are large, and the gradients of their squares beyond float16's 65504.
        assert all(np.isfinite(g).all() for g in loss_and_gradients(half, x, True, True, scale)), policy


def as_model(layer, shape):
    """A layer as a functional model, its weights changed from their initial zeros and ones; a model as it is."""
    if not isinstance(layer, keras.Model):
        inputs = keras.Input(shape[1:])
        layer = keras.Model(inputs, layer(inputs))
    rng = np.random.default_rng(7)
    layer.set_weights([w + 0.1 * rng.uniform(0, 1, w.shape).astype(w.dtype) for w in layer.get_weights()])
    return layer


def loss_and_gradients(model, x, training, jit, scale=1.0):
    """The mean square of output / scale, and its gradients by the trainable weights; the weights stay as they were."""
    before = model.get_weights()

    @tf.function(jit_compile=jit)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(model(x, training=training), tf.float32) / scale))
        return [loss, *tape.gradient(loss, model.trainable_weights)]

    values = [np.asarray(value) for value in step(x)]
    model.set_weights(before)
    return values


def _saved_and_loaded(model, x, expected, folder):
    model.save(folder / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(folder / "model.keras")(x), expected, rtol=1e-5, atol=1e-5)
    if not model.weights:
        return
    weights = model.get_weights()
    model.save_weights(folder / "model.weights.h5")
    model.set_weights([np.zeros_like(w) for w in weights])
    assert np.abs(np.asarray(model(x)) - expected).max() > 1e-3
    model.load_weights(folder / "model.weights.h5")
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)


class dtype_policy:
    """Within it, new layers have this dtype policy."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.name)

    def __exit__(self, *_):
        keras.config.set_dtype_policy(self.before)
