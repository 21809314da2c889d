"""The stream of batches: complete, in order, and with the user's error in place of TensorFlow's."""

import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import SyntheticReader
from cosmictagger_tf.data.pipeline import evaluation_dataset, training_dataset
from cosmictagger_tf.data.sampling import training_entries
from cosmictagger_tf.detector import PADDING_COORDINATE, ImageShape
from cosmictagger_tf.errors import DataError

CONFIG = DataConfig(synthetic=True, downsample=1, minibatch_size=4)


@pytest.fixture
def reader():
    return SyntheticReader(10, ImageShape(3, 32, 64))


def test_training_batches_are_those_of_the_sampling(reader):
    batches = list(training_dataset(reader, CONFIG, seed=3, start_step=2, steps=9).batches.as_numpy_iterator())
    assert len(batches) == 9
    for step, batch in enumerate(batches, start=2):
        np.testing.assert_array_equal(batch["entries"], training_entries(3, step, 4, 10))
        assert batch["weights"].tolist() == [1, 1, 1, 1]


def test_evaluation_reads_every_event_once_and_fills_up(reader):
    batches = list(evaluation_dataset(reader, CONFIG).batches.as_numpy_iterator())
    assert np.concatenate([batch["entries"] for batch in batches]).tolist() == [*range(10), -1, -1]
    assert np.concatenate([batch["weights"] for batch in batches]).tolist() == [1.0] * 10 + [0.0] * 2
    assert (batches[-1]["image_coordinates"][2:] == -1).all() and not batches[-1]["image_values"][2:].any()


def test_ranks_read_disjoint_batches(reader):
    for step in range(5):
        parts = [training_entries(1, step, 4, 10, rank, 2) for rank in range(2)]
        np.testing.assert_array_equal(np.concatenate(parts), training_entries(1, step, 4, 10))


@pytest.mark.parametrize("size", [1, 3, 4, 10, 16])
def test_every_entry_once_an_epoch(size):
    steps = 10 * 3 // size + 1
    stream = np.concatenate([training_entries(7, step, size, 10) for step in range(steps)])[:30]
    for epoch in stream.reshape(3, 10):
        assert sorted(epoch) == list(range(10))
    assert not np.array_equal(stream[:10], stream[10:20])


def test_the_users_error_comes_through(reader, monkeypatch):
    good = reader.read

    def read(entry):
        if entry == 5:
            raise DataError("x.h5", "is broken", entry, 1)
        return good(entry)

    monkeypatch.setattr(reader, "read", read)
    stream = evaluation_dataset(reader, CONFIG)
    with pytest.raises(DataError, match=r"x.h5, entry 5, plane 1: is broken"), stream.errors_reraised():
        list(stream.batches.as_numpy_iterator())


def test_lists_are_as_long_as_the_longest_of_the_file_where_they_must_be_of_one_length(reader):
    stream = training_dataset(reader, CONFIG, seed=3, steps=3)
    stream.longest = 3000
    plain = training_dataset(reader, CONFIG, seed=3, steps=3)
    for batch, other in zip(stream.generate(), plain.generate(), strict=True):
        length = other["image_values"].shape[2]
        assert batch["image_values"].shape[2] == batch["labels"].shape[2] == batch["label_coordinates"].shape[2] == 4096
        np.testing.assert_array_equal(batch["image_coordinates"][:, :, :length], other["image_coordinates"])
        assert (batch["image_coordinates"][:, :, length:] == PADDING_COORDINATE).all()
        assert not batch["image_values"][:, :, length:].any() and not batch["labels"][:, :, length:].any()
