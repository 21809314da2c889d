"""Learning rates as functions of the step."""

import keras
import numpy as np
import pytest

from cosmictagger_tf.config import OptimizerConfig
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.training.schedules import Flat, OneCycle, WarmupFlatDecay, build_schedule
from tests.training.small import make_batches, make_model, train_on


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


def test_warmup_flat_decay_is_the_references():
    # 10 steps an epoch: one epoch up from 1e-4, 20 epochs flat, then down to 1e-4 by equal factors, and there it stays.
    config = OptimizerConfig(lr_schedule="warmup_flat_decay", learning_rate=3e-3, lr_decay_epochs=4.0)
    schedule = build_schedule(config, 10.0, 1000)
    np.testing.assert_allclose(rates(schedule, range(0, 11)), np.linspace(1e-4, 3e-3, 11), rtol=1e-5)
    np.testing.assert_allclose(rates(schedule, [10, 100, 210]), 3e-3, rtol=1e-6)
    np.testing.assert_allclose(rates(schedule, range(210, 251)), np.geomspace(3e-3, 1e-4, 41), rtol=1e-4)
    np.testing.assert_allclose(rates(schedule, [251, 1_000_000]), 1e-4, rtol=1e-4)


def test_parts_of_length_zero_are_left_out():
    schedule = WarmupFlatDecay(1e-4, 1e-2, 1e-3, warmup=0, flat=5, decay=0)
    np.testing.assert_allclose(rates(schedule, [0, 4, 5, 6, 7]), [1e-2, 1e-2, 1e-2, 1e-3, 1e-3], rtol=1e-5)


def test_one_cycle_starts_peaks_and_ends_where_it_should():
    schedule = OneCycle(1e-4, 1e-2, 1e-5, steps=101, rise=0.3)
    values = rates(schedule, range(101))
    assert values[0] == pytest.approx(1e-4, rel=1e-4) and values[-1] == pytest.approx(1e-5, rel=1e-2)
    assert values.argmax() == 30 and values[30] == pytest.approx(1e-2)
    assert (np.diff(values[:31]) > 0).all() and (np.diff(values[30:]) < 0).all()
    assert values[15] == pytest.approx((1e-4 + 1e-2) / 2, rel=1e-4)


@pytest.mark.parametrize("rise", [0.0, 1.0])
def test_one_cycle_may_only_rise_or_only_fall(rise):
    values = rates(OneCycle(1e-4, 1e-2, 1e-5, steps=11, rise=rise), range(11))
    assert np.isfinite(values).all() and values.max() == pytest.approx(1e-2)
    assert values.argmax() == (0 if rise == 0 else 10)


@pytest.mark.parametrize("schedule", [Flat(0.1), WarmupFlatDecay(1, 2, 0.5, 3, 4, 5), OneCycle(1, 2, 0.5, 10, 0.5)])
def test_goes_through_keras_serialisation(schedule):
    custom = {type(schedule).__name__: type(schedule)}
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(config, custom_objects=custom)
    np.testing.assert_array_equal(rates(again, range(12)), rates(schedule, range(12)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 1e-5, "lr_schedule": "one_cycle"}, "--lr_start"),
        ({"lr_floor": 1.0, "lr_schedule": "warmup_flat_decay"}, "--lr_floor"),
        ({"lr_floor": 0.0, "lr_schedule": "warmup_flat_decay"}, "--lr_floor"),
    ],
)
def test_impossible_rates_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        OptimizerConfig(**options)


def test_a_flat_rate_may_be_low():
    assert OptimizerConfig(learning_rate=1e-6).learning_rate == 1e-6


def test_under_accumulation_an_update_takes_the_rate_of_its_last_step():
    # Plain descent without momentum: the second update differs from the first one's gradient by its rate alone.
    options = {"optimizer": "sgd", "momentum": 0.0, "gradient_accumulation": 2}
    schedule = WarmupFlatDecay(0.0, 1.0, 0.5, warmup=8, flat=100, decay=1)
    batch = make_batches(1, 2)[0]
    moved = []
    for rate in (schedule, float(schedule(1))):
        model = make_model(options, schedule=rate, normalization="none")
        before = model.network.trainable_variables[0].numpy()
        train_on(model, [batch, batch])
        moved.append(model.network.trainable_variables[0].numpy() - before)
    assert np.abs(moved[0]).max() > 0
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-6)
