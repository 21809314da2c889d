"""What the best checkpoint of a network with an event head is chosen by: rejection counts, empty readouts do not."""

import contextlib

import numpy as np
import pytest

from cosmictagger_tf.data.dataset import SyntheticReader
from cosmictagger_tf.training.callbacks import Checkpoints, WholeValidation
from cosmictagger_tf.training.checkpoints.store import CheckpointStore
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.evaluation import (
    READOUT_MEASURES,
    Evaluator,
    EventTable,
    join,
    readout_columns,
    without_unscored,
)
from cosmictagger_tf.training.recorders import history_columns
from cosmictagger_tf.training.speed import Progress
from tests.training.small import make_batches, make_model
from tests.training.test_event_training import HEADS

IOU, ACCURACY, SCORE = READOUT_MEASURES


def table(neutrino, called_neutrino, kept=None) -> EventTable:
    """Readouts with so many true neutrino pixels on each of two planes, and so many called so of them and of cosmic.

    Args:
        neutrino: of each readout.
        called_neutrino: of each readout, (true ones, cosmic ones).
        kept: whether the event head takes each for one with a neutrino; None = there is none.
    """
    counts = np.zeros((len(neutrino), 2, 3, 3), np.int64)
    counts[..., 0, 0] = 1000
    for event, (true, (right, wrong)) in enumerate(zip(neutrino, called_neutrino, strict=True)):
        counts[event, :, 2, 2], counts[event, :, 2, 1] = right, true - right
        counts[event, :, 1, 2], counts[event, :, 1, 1] = wrong, 100 - wrong
    scores = (
        None if kept is None else np.float32([[0.2, 0.2, 0.2, 0.4] if each else [0.1, 0.1, 0.1, 0.7] for each in kept])
    )
    return EventTable(np.arange(len(neutrino)), np.zeros(len(neutrino), np.float32), counts, scores)


def test_the_iou_is_of_readouts_with_a_neutrino_and_the_accuracy_of_both_sorts():
    measured = table([20, 40, 2, 0, 0], [(10, 0), (40, 40), (2, 0), (0, 0), (0, 7)], [1, 0, 1, 0, 0]).summary()
    assert measured[IOU] == measured[f"{IOU}/plane1"] == pytest.approx((10 / 20 + 40 / 80) / 2)
    assert measured[ACCURACY] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert measured[SCORE] == pytest.approx((measured[IOU] + measured[ACCURACY]) / 2)


def test_what_finds_a_neutrino_everywhere_is_not_the_best():
    """The mean IoU counts an empty readout as 1 whether the network rejects the others or not."""
    neutrino = [50, 50, 0, 0]
    rejecting = table(neutrino, [(40, 0), (40, 0), (0, 0), (0, 0)], [1, 1, 0, 0]).summary()
    finding = table(neutrino, [(42, 0), (42, 0), (0, 0), (0, 0)], [1, 1, 1, 1]).summary()
    assert finding["mean_iou"] > rejecting["mean_iou"]
    assert finding[SCORE] < rejecting[SCORE]


def test_sets_of_one_sort_and_networks_without_the_head_have_none():
    assert not set(READOUT_MEASURES) & set(table([20, 30], [(1, 0), (2, 0)], [1, 1]).summary())
    assert not set(READOUT_MEASURES) & set(table([0, 0], [(0, 0), (0, 0)], [1, 1]).summary())
    assert set(READOUT_MEASURES) & set(table([20, 0], [(1, 0), (0, 0)]).summary()) == {IOU}


@pytest.mark.parametrize("kept", [None, [1, 0]])
def test_history_has_a_column_for_each_of_them(kept):
    columns = history_columns(2, readout_columns(2, kept is not None))
    measured = table([20, 0], [(10, 0), (0, 0)], kept).readout_measures(np.ones((1, 2)))
    assert set(columns) - set(history_columns(2)) == set(measured) and len(set(columns)) == len(columns)


def test_neither_batches_nor_ranks_nor_fillers_change_them():
    whole = table([20, 40, 0, 0, 30], [(10, 0), (40, 4), (0, 0), (0, 7), (3, 0)], [1, 1, 0, 1, 0])
    columns = (whole.entries, whole.losses, whole.counts, whole.class_scores)
    parts = [EventTable(*(column[places] for column in columns)) for places in ([3], [4, 0], [2, 1])]
    assert join(parts).summary() == whole.summary()
    model = make_model(**HEADS)
    evaluator, (batch,) = Evaluator(model.segmenter, "light", xla=False), make_batches(1, 3)
    every = evaluator.table_of(evaluator.predict_on_batch(batch), batch)
    assert every.class_scores.shape == (3, 4)
    np.testing.assert_allclose(every.class_scores.sum(axis=1), 1, rtol=1e-5)
    filled = {**batch, "entries": np.array([5, -1, 6])}
    some = evaluator.table_of(evaluator.predict_on_batch(filled), filled)
    np.testing.assert_allclose(some.class_scores, every.class_scores[[0, 2]], rtol=1e-5)


def test_an_event_of_which_the_head_gives_no_number_is_left_out():
    """Not a number is above no limit: it would count as a readout that is rightly called cosmic."""
    measured = {"losses": np.zeros(3, np.float32), "not_finite": np.zeros((3, 2), np.int32)}
    measured["class_scores"] = np.float32([[0.25] * 4, [np.nan] * 4, [0.25] * 4])
    batch, errors = without_unscored(measured, {"entries": np.array([4, 5, -1])}, SyntheticReader())
    assert batch["entries"].tolist() == [4, -1, -1]
    (error,) = errors
    assert error.entry == 5 and "what the event head gives is not finite" in str(error)


class Model:
    def averaged_weights(self):
        return contextlib.nullcontext()

    def share_statistics(self):
        pass


@pytest.mark.parametrize(
    ("kept", "better", "chosen_by", "best"),
    [([1, 0], [1, 1], SCORE, 1), ([1, 1], [1, 0], SCORE, 2), (None, None, "mean_iou", 2)],
)
def test_the_best_checkpoint(tmp_path, monkeypatch, kept, better, chosen_by, best):
    """The second validation has the better IoU; the event head decides where there is one."""
    tables = iter([table([50, 0], [(40, 0), (0, 0)], kept), table([50, 0], [(45, 0), (0, 0)], better)])
    store = CheckpointStore(tmp_path)
    checkpoints = Checkpoints(Progress(0, 9), store, 100, {}, Ranks(), None)
    # A best one of before, by another measure.
    store.path(7).mkdir()
    store.mark_best(7, {"accuracy": 1.0})
    monkeypatch.setattr(checkpoints, "save", lambda step, record: store.path(step).mkdir())
    records = []
    recorder = type("Recorder", (), {"write": lambda self, record: records.append(record)})()
    validation = WholeValidation(Progress(0, 9), lambda: next(tables), 1, [recorder], checkpoints)
    validation.set_model(Model())
    for step in (1, 2):
        validation.act(step)
    assert store.best()["step"] == best
    assert store.best()[chosen_by] == records[best - 1][chosen_by]
