"""Updates: accumulation, clipping, averages, loss scaling; and what must not change them."""

import keras
import numpy as np
import pytest

from cosmictagger_tf.training.optimizers import OPTIMIZERS, averaged_weights
from tests.training.small import make_batches, make_model, train_on, weights_of


def joined(batches):
    """One batch of several."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def relative(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@pytest.fixture
def policy():
    """Sets a precision for one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_makes_the_loss_smaller(optimizer):
    rate = {"sgd": 0.02, "lion": 0.002}.get(optimizer, 0.01)
    model = make_model({"optimizer": optimizer, "learning_rate": rate})
    losses = train_on(model, make_batches(1, 4) * 15)
    assert losses[-1] < 0.95 * losses[0], losses


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_in_one_operation_is_kerass(name):
    kerass = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[name]
    values = np.random.default_rng(5).normal(size=(6, 4, 3)).astype(np.float32)
    ends = []
    for kind in (OPTIMIZERS[name], kerass):
        variable, optimizer = keras.Variable(values[0]), kind(0.02)
        for gradient in values[1:]:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
        assert type(again) is kind and again.get_config() == optimizer.get_config()
        ends.append([v.numpy() for v in (variable, *optimizer.variables)])
    assert np.abs(ends[0][0] - values[0]).max() > 0.03
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_adamw_decays_kernels_alone_and_as_much_as_it_is_told():
    rate, decay, batch = 0.01, 0.5, make_batches(1, 2)
    models = [make_model({"optimizer": "adamw", "learning_rate": rate, "adamw_decay": d}) for d in (0.0, decay)]
    begin = [v.numpy() for v in models[0].network.trainable_variables]
    for model in models:
        train_on(model, batch)
    for variable, before, without in zip(
        models[1].network.trainable_variables, begin, models[0].network.trainable_variables, strict=True
    ):
        taken = rate * decay * before if variable.name == "kernel" else 0.0
        np.testing.assert_allclose(variable.numpy(), without.numpy() - taken, atol=1e-6, err_msg=variable.path)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_four_accumulated_batches_make_the_update_of_one_four_times_larger(optimizer):
    # Without normalisation: batch statistics see one batch only. The loss is a mean over images; penalties are in it.
    options = {"optimizer": optimizer, "loss_balance_scheme": "even"}
    network = {"normalization": "none", "weight_decay": 1e-3}
    batches = make_batches(8, 2)
    accumulated = make_model({**options, "gradient_accumulation": 4}, **network)
    at_once = make_model(options, **network)
    begin = weights_of(at_once)
    train_on(accumulated, batches[:3])
    np.testing.assert_array_equal(weights_of(accumulated), begin)
    train_on(accumulated, batches[3:])
    train_on(at_once, [joined(batches[:4]), joined(batches[4:])])
    assert relative(weights_of(at_once), begin) > 1e-3
    assert relative(weights_of(accumulated), weights_of(at_once)) < 1e-5


def test_gradients_are_clipped_by_their_common_norm():
    options = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1.0}
    batch = make_batches(1, 2)
    free, clipped = make_model(options), make_model({**options, "clip_norm": 0.01})
    begin = np.concatenate([v.numpy().ravel() for v in free.network.trainable_variables])
    moves = []
    for model in (free, clipped):
        train_on(model, batch)
        moves.append(np.concatenate([v.numpy().ravel() for v in model.network.trainable_variables]) - begin)
    assert np.linalg.norm(moves[0]) > 0.02
    assert np.linalg.norm(moves[1]) == pytest.approx(0.01, rel=1e-3)
    np.testing.assert_allclose(moves[1] * np.linalg.norm(moves[0]) / 0.01, moves[0], rtol=1e-2, atol=1e-4)


def test_the_average_is_that_of_the_weights_after_each_step():
    model = make_model({"ema_momentum": 0.6})
    variables = model.network.trainable_variables
    expected = None
    for batch in make_batches(4, 2):
        train_on(model, [batch])
        now = [v.numpy() for v in variables]
        expected = now if expected is None else [0.6 * e + 0.4 * n for e, n in zip(expected, now, strict=True)]
    with averaged_weights(model.optimizer, variables):
        for variable, average in zip(variables, expected, strict=True):
            np.testing.assert_allclose(variable.numpy(), average, rtol=1e-5, atol=1e-6)
    for variable, value in zip(variables, now, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_without_an_average_the_weights_stand():
    model = make_model()
    begin = weights_of(model)
    with model.averaged_weights():
        np.testing.assert_array_equal(weights_of(model), begin)
    assert len(model.state) < len(make_model({"ema_momentum": 0.9}).state)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "normalization"), [("adam", "batch"), pytest.param("sgd", "none", marks=pytest.mark.exhaustive)]
)
def test_xla_changes_nothing_in_20_steps(optimizer, normalization):
    # A bias before a normalisation has no gradient but rounding, which Adam would blow up: bias=False.
    options = {"optimizer": optimizer, "learning_rate": 1e-3}
    network = {"normalization": normalization, "bias": normalization == "none"}
    batches = make_batches(20, 2)
    with_xla, without = (make_model(options, xla=xla, **network) for xla in (True, False))
    begin = weights_of(without)
    losses = [train_on(model, batches) for model in (with_xla, without)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert relative(weights_of(without), begin) > 1e-3
    assert relative(weights_of(with_xla), weights_of(without)) < 1e-4


def test_loss_scaling_goes_down_without_an_update_and_up_again(policy):
    policy("mixed_float16")
    model = make_model(scale_loss=True, xla=False)
    scaling = model.guard.inner_optimizer
    scaling.dynamic_growth_steps = 3
    scaling.dynamic_scale.assign(2.0**40)
    begin = [v.numpy() for v in model.network.trainable_variables]
    batch = make_batches(1, 2)[0]
    train_on(model, [batch])
    assert float(scaling.dynamic_scale) == 2.0**39
    for variable, value in zip(model.network.trainable_variables, begin, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    scaling.dynamic_scale.assign(2.0**8)
    losses = train_on(model, [batch] * 3)
    assert float(scaling.dynamic_scale) == 2.0**9
    assert losses[-1] < losses[0]
    scale = [v for v in model.state.values() if v is scaling.dynamic_scale]
    assert len(scale) == 1, "the loss scale is part of the checkpoint"


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_in_half_precision_logits_loss_and_weights_are_float32(policy, precision):
    policy(precision)
    model = make_model(scale_loss=precision == "mixed_float16", blocks_per_layer=1)
    batch = make_batches(1, 2)[0]
    loss = model.compute_loss(batch, y_pred=model(batch, training=True))
    assert loss.dtype == "float32" and model.segmenter(batch, training=True).logits.dtype == "float32"
    assert {v.dtype for v in model.network.weights} == {"float32"}
    hidden = model.network.get_layer("level0_down_0_conv")
    assert hidden.compute_dtype == precision.removeprefix("mixed_")


def test_accumulation_inside_loss_scaling_equals_the_larger_batch():
    batches = make_batches(4, 2)
    options = {"optimizer": "sgd", "learning_rate": 0.1}
    scaled = make_model({**options, "gradient_accumulation": 4}, scale_loss=True, normalization="none")
    at_once = make_model(options, normalization="none")
    train_on(scaled, batches)
    train_on(at_once, [joined(batches)])
    assert relative(weights_of(scaled), weights_of(at_once)) < 1e-5
