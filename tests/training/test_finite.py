"""A number that is not finite stops the training before the update, and only then."""

import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.data.dataset import SyntheticReader
from cosmictagger_tf.detector import N_CLASSES
from cosmictagger_tf.errors import NonFiniteError, StoppedElsewhere
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.callbacks import FiniteStop, Validation, WholeValidation
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.evaluation import Evaluator, join
from cosmictagger_tf.training.guard import LOWEST_SCALE
from cosmictagger_tf.training.pictures import class_picture
from cosmictagger_tf.training.speed import Progress
from cosmictagger_tf.training.tensorboard import Pictures
from tests.training.small import SHAPE, make_batches, make_model, train_on, weights_of

PLAIN = {"normalization": "none"}


def poisoned(batch):
    """The batch with a pixel whose charge is no number."""
    values = batch["image_values"].copy()
    values[0, 0, 3] = np.nan
    return {**batch, "image_values": values}


def state_of(model):
    return [np.asarray(v.value) for v in model.guard.inner_optimizer.variables]


def stopped(model):
    return bool(model.guard.fault.numpy())


@pytest.mark.parametrize(
    "xla", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.exhaustive])], ids=["plain", "xla"]
)
@pytest.mark.parametrize("options", [{"gradient_accumulation": 2, "ema_momentum": 0.5, "clip_norm": 1.0}])
def test_a_loss_that_is_not_finite_changes_nothing(xla, options):
    good, bad, after = make_batches(3, 2)
    model = make_model(options, xla=xla, **PLAIN)
    train_on(model, [good])
    weights, state = weights_of(model), state_of(model)
    train_on(model, [poisoned(bad)])
    assert stopped(model) and model.segmentation.unsound_losses == 1
    # The later steps of one execution do nothing either.
    train_on(model, [after])
    assert stopped(model) and int(model.guard.steps.numpy()) == 1
    np.testing.assert_array_equal(weights, weights_of(model))
    for before, now in zip(state, state_of(model), strict=True):
        np.testing.assert_array_equal(before, now)


@pytest.mark.slow
def test_the_later_steps_of_one_execution_do_nothing():
    good, bad, after = make_batches(3, 2)
    model, alone = make_model(**PLAIN), make_model(**PLAIN)
    train_on(alone, [good])
    model.compile(model.optimizer, steps_per_execution=3, jit_compile=False, auto_scale_loss=False)
    batches = {name: np.stack([b[name] for b in (good, poisoned(bad), after)]) for name in good}
    model.fit(tf.data.Dataset.from_tensor_slices(batches), verbose=0)
    assert int(model.guard.steps.numpy()) == 1
    np.testing.assert_array_equal(weights_of(model), weights_of(alone))


def test_a_gradient_that_is_not_finite_stops_where_the_loss_is():
    model = make_model(**PLAIN)
    variables = model.network.trainable_weights
    finite = [tf.ones(w.shape) for w in variables]
    broken = [tf.fill(finite[0].shape, np.inf), *finite[1:]]
    assert bool(model.guard.is_sound(finite)) and not bool(model.guard.is_sound(broken))
    before = weights_of(model)
    for gradients in (broken, finite):
        model.guard.apply(gradients, variables)
        assert stopped(model) and model.segmentation.unsound_losses == 0
        np.testing.assert_array_equal(before, weights_of(model))


def test_the_loss_scale_may_fall_but_not_for_ever():
    model = make_model(scale_loss=True, **PLAIN)
    variables, scaling = model.network.trainable_weights, model.guard.inner_optimizer
    broken = [tf.fill(w.shape, np.inf) for w in variables]
    before, scale = weights_of(model), float(scaling.dynamic_scale.numpy())
    model.guard.apply(broken, variables)
    assert not stopped(model) and int(model.guard.steps.numpy()) == 1
    assert float(scaling.dynamic_scale.numpy()) == scale / 2
    np.testing.assert_array_equal(before, weights_of(model))
    scaling.dynamic_scale.assign(LOWEST_SCALE)
    assert not bool(model.guard.is_sound(broken))


class ManyRanks(Ranks):
    """Ranks of which another one failed, if this one did not."""

    def agreed(self):
        class Agreed:
            def __enter__(self):
                return self

            def __exit__(self, kind, error, trace):
                if error is None:
                    raise StoppedElsewhere
                return False

        return Agreed()


def test_the_stop_names_step_and_events(monkeypatch):
    model = make_model(**PLAIN)
    stop = FiniteStop(Progress(0, 9), lambda step: [f"a.h5, entry {step}", "b.h5, entry 3"], Ranks())
    stop.set_model(model)
    stop.on_train_batch_end(0)
    model.guard.steps.assign(7)
    model.guard.fault.assign(1)
    with pytest.raises(NonFiniteError, match=r"step 8: a gradient is not finite, of the events a.h5, entry 7; b.h5, "):
        stop.on_train_batch_end(0)
    model.segmentation.update_from_counts(np.ones((1, 3, 3, 3), np.int32), losses=np.array([np.nan]))
    with pytest.raises(NonFiniteError, match=r"step 8: the loss is not finite, of the events a.h5, entry 7; b.h5, en"):
        stop.on_epoch_end(0)
    monkeypatch.setattr(model, "is_to_blame", lambda: False)
    elsewhere = FiniteStop(Progress(0, 9), lambda step: [], ManyRanks())
    elsewhere.set_model(model)
    with pytest.raises(StoppedElsewhere):
        elsewhere.on_train_batch_end(0)


@pytest.mark.slow
def test_ordinary_steps_are_what_they_were():
    """The guard changes no bit of an update: the same steps by hand, without it."""
    batches = make_batches(2, 2)
    model, bare = make_model(**PLAIN), make_model(**PLAIN)
    train_on(model, batches)

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            loss = bare.compute_loss(batch, y_pred=bare(batch, training=True))
        variables = bare.network.trainable_weights
        bare.guard.inner_optimizer.apply(tape.gradient(loss, variables), variables)

    for batch in batches:
        step({name: tf.constant(array) for name, array in batch.items()})
    np.testing.assert_allclose(weights_of(model), weights_of(bare), rtol=0, atol=0)


READER = SyntheticReader(8, SHAPE)


@pytest.mark.parametrize("conv_mode", ["2D", "sparse"])
def test_an_event_whose_logits_are_not_finite_is_in_no_metric(conv_mode):
    (batch,) = make_batches(1, 3)
    segmenter = make_model(conv_mode=conv_mode, **PLAIN).segmenter
    evaluator, prepare = Evaluator(segmenter, "light", xla=False), segmenter.prepare or dict
    sound, none = evaluator.table(prepare(batch), READER)
    table, (error,) = evaluator.table(prepare(poisoned(batch)), READER)
    assert none == [] and table.entries.tolist() == [1, 2]
    np.testing.assert_allclose(table.losses, sound.losses[1:], rtol=1e-5)
    np.testing.assert_array_equal(table.counts, sound.counts[1:])
    assert (error.file, error.entry) == ("(synthetic)", 0) and error.plane is not None
    assert " pixels are not finite: look at its charge" in str(error)


class Records(list):
    """A sink."""

    write = list.append


class Stream:
    """Of one batch for ever."""

    def __init__(self, batch):
        self.batch, self.reader, self.bad_events = batch, READER, lambda used: []

    def generate(self):
        while True:
            yield self.batch


def test_a_validation_logs_what_it_leaves_out_and_records_no_metric_of_nothing(caplog):
    model, sink = make_model(**PLAIN), Records()
    evaluator, (batch,) = Evaluator(model.segmenter, "light", xla=False), make_batches(1, 1)
    bad = BadEvents(0, Ranks())
    for values in (batch, poisoned(batch)):
        each = Validation(Progress(0, 9), evaluator, Stream(values), 5, 1, [sink], Ranks(), bad)
        each.set_model(model)
        each.act(1)
    assert len(sink) == 1 and np.isfinite(sink[0]["loss"])
    (line,) = caplog.messages
    assert line.startswith("validation leaves out 5 events: (synthetic), entry 0, plane ")
    assert line.endswith("; and 2 more")
    empty = join([evaluator.table(poisoned(batch), READER)[0]])
    # No checkpoint is the best by nothing.
    whole = WholeValidation(Progress(0, 9), lambda: empty, 1, [sink], checkpoints=None)
    whole.set_model(model)
    whole.act(1)
    assert len(sink) == 1


def test_a_picture_shows_a_pixel_without_scores_as_no_class(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "cosmictagger_tf.training.tensorboard.class_picture", lambda c: drawn.append(c) or class_picture(c)
    )
    model, (batch,) = make_model(**PLAIN), make_batches(1, 1)
    pictures = Pictures(Progress(0, 1), model.segmenter, poisoned(batch), tmp_path, 1, xla=False)
    pictures.set_model(model)
    pictures.act(1)
    assert (drawn[0] == N_CLASSES).any()
    assert class_picture(np.array([[N_CLASSES]])).tolist() == [[[0, 0, 0]]]
