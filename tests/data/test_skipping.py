"""--skip_bad_events: what takes the place of a bad event, and how they are counted."""

import copy

import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.pipeline import evaluation_dataset, training_dataset
from cosmictagger_tf.data.sampling import training_entries
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.distributed.ranks import Ranks
from tests.data.bad_files import FAULTS
from tests.data.file_changes import table
from tests.data.sound_files import ENTRY, sound_file

ENTRIES = 6
CONFIG = DataConfig(file=("x",), downsample=0, minibatch_size=2)


def with_bad(path, bad):
    """A file whose entries `bad` have a pixel that is no number."""
    sound_file(path, entries=ENTRIES)
    for entry in bad:

        def spoil(rows, entry=entry):
            rows["value"][entry * 1200 + 7] = np.nan
            return rows

        table("/Data/sparse2d_sbndwire_group/voxels", spoil)(path)
    return open_reader(DataConfig(file=(str(path),)))


def entries_of(stream):
    with stream.errors_reraised():
        return [batch["entries"].tolist() for batch in stream.batches.as_numpy_iterator()]


def test_the_next_sound_event_takes_the_place(tmp_path):
    reader = with_bad(tmp_path / "x.h5", [2, 3, 5])
    stand_in = {2: 4, 3: 4, 5: 0}
    stream = training_dataset(reader, CONFIG, seed=1, steps=9, skip=3)
    entries = entries_of(stream)
    asked = [training_entries(1, step, 2, ENTRIES) for step in range(9)]
    assert entries == [[stand_in.get(int(e), int(e)) for e in step] for step in asked]
    assert sorted(error.entry for error in stream.bad_events()) == [2, 3, 5]
    assert [stream.name(e).rsplit(" ", 1)[1] for e in (1, 2, 3, 5)] == ["1", "4", "4", "0"]


def test_resumed_and_shared_streams_see_the_same(tmp_path):
    reader = with_bad(tmp_path / "x.h5", [2, 3])
    whole = entries_of(training_dataset(reader, CONFIG, seed=1, steps=9, skip=3))
    assert entries_of(training_dataset(reader, CONFIG, seed=1, start_step=4, steps=5, skip=3)) == whole[4:]
    ranks = [entries_of(training_dataset(reader, CONFIG, 1, 0, 9, rank, 2, skip=3)) for rank in range(2)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == whole


def test_what_was_met_is_known_batch_by_batch(tmp_path):
    reader = with_bad(tmp_path / "x.h5", [2])
    stream = training_dataset(reader, CONFIG, seed=1, steps=9, skip=1)
    entries_of(stream)
    first = next(s for s in range(9) if 2 in training_entries(1, s, 2, ENTRIES))
    assert stream.bad_events(first) == []
    assert [error.entry for error in stream.bad_events(first + 1)] == [2]


def test_too_many_in_a_row_end_the_reading(tmp_path):
    reader = with_bad(tmp_path / "x.h5", [0, 1, 2, 3])
    with pytest.raises(DataError, match=r"x.h5, entry \d, plane 0: sbndwire: a pixel's value is nan"):
        entries_of(training_dataset(reader, CONFIG, seed=1, steps=9, skip=2))


def test_without_the_option_the_first_one_ends_it(tmp_path):
    reader = with_bad(tmp_path / "x.h5", [2])
    with pytest.raises(DataError, match=r"entry 2, plane 0"):
        entries_of(training_dataset(reader, CONFIG, seed=1, steps=9))
    with pytest.raises(DataError, match=r"entry 2, plane 0"):
        entries_of(evaluation_dataset(reader, CONFIG))


def test_evaluation_leaves_it_out(tmp_path):
    reader = with_bad(tmp_path / "x.h5", [2])
    stream = evaluation_dataset(reader, CONFIG, skip=1)
    with stream.errors_reraised():
        batches = list(stream.batches.as_numpy_iterator())
    assert [b["entries"].tolist() for b in batches] == [[0, 1], [3, -1], [4, 5]]
    assert [b["weights"].tolist() for b in batches] == [[1, 1], [1, 0], [1, 1]]
    assert [error.entry for error in stream.bad_events()] == [2]


def test_a_fault_of_the_whole_file_is_not_skipped(tmp_path):
    path = sound_file(tmp_path / "x.h5")
    FAULTS["no image"][0](path)
    with pytest.raises(DataError, match="has no sparse2d product"):
        open_reader(DataConfig(file=(str(path),)))


class TwoRanks(Ranks):
    """This rank and another, which has read `theirs`."""

    size = 2

    def __init__(self, theirs):
        self.theirs = theirs

    def gather(self, thing):
        return [thing, self.theirs]


def error(entry, file="a.h5"):
    return DataError(file, "is broken", entry, 1)


def test_events_are_counted_once_over_all_ranks_and_restarts(caplog):
    bad = BadEvents(3, TwoRanks([error(1), error(7)]), [["a.h5", 1]])
    assert bad.is_new([error(ENTRY)]) and not bad.is_new([error(1)])
    bad.count([error(ENTRY)])
    bad.count([error(ENTRY)])
    assert bad.record == [["a.h5", 1], ["a.h5", ENTRY], ["a.h5", 7]]
    assert caplog.messages == [
        "skipped: a.h5, entry 2, plane 1: is broken (2 of at most 3 bad events)",
        "skipped: a.h5, entry 7, plane 1: is broken (3 of at most 3 bad events)",
    ]
    with pytest.raises(DataError, match=r"b.h5, entry 1, plane 1: is broken \(--skip_bad_events=3: so many were skipp"):
        bad.count([error(1, "b.h5")])


def test_one_too_many_stops_at_once(caplog):
    alone = BadEvents(2, Ranks())
    alone.watch([error(1), error(7)])
    alone.watch([error(1), error(7)])
    assert len(caplog.messages) == 2
    with pytest.raises(DataError, match=r"entry 8, plane 1: is broken \(--skip_bad_events=2"):
        alone.watch([error(1), error(7), error(8)])
    # One of many knows its own alone, and asks nobody.
    two = BadEvents(2, TwoRanks(None))
    two.watch([error(1), error(7)])
    with pytest.raises(DataError, match=r"entry 8, plane 1: is broken \(--skip_bad_events=2"):
        two.watch([error(1), error(7), error(8)])


def test_ranks_can_tell_each_other():
    error = DataError("a.h5", "is bad", 3, 1)
    other = copy.copy(error)
    assert (str(other), other.file, other.entry, other.plane) == (str(error), "a.h5", 3, 1)
