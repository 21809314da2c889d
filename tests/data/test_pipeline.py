"""The stream of batches: complete, in order, and with the user's error in place of TensorFlow's."""

import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig, TruthConfig
from cosmictagger_tf.data.dataset import SyntheticReader, open_labelled, open_reader
from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.data.pipeline import evaluation_dataset, training_dataset
from cosmictagger_tf.data.sampling import training_entries
from cosmictagger_tf.data.vertices import boxes_at
from cosmictagger_tf.detector import PADDING_COORDINATE, ImageShape
from cosmictagger_tf.errors import DataError
from tests.data.truth_files import particle_rows

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


def test_truth_goes_through_augmentation_downsampling_and_what_networks_add(tmp_path):
    """As in files: with the vertex in the pixels of one class, where it is seen whether it moves with them."""

    def prepare(batch):
        return batch | {"more": np.zeros(1)}

    prepare.added = {"more": ((1,), "float64")}
    shape = ImageShape()
    row, column = 400, 1000
    with LarcvWriter(tmp_path / "file.h5", shape) as writer:
        rows, columns = (
            axis.ravel().astype(np.int32) + at for axis, at in zip(np.mgrid[:4, :4], (row, column), strict=True)
        )
        pixels = PlanePixels(rows, columns, np.full(16, 90.0, np.float32))
        label = (PlanePixels(rows, columns, np.full(16, 2.0, np.float32)),) * 3
        boxes = [boxes_at(np.array([[row + 2.0, column + 2.0]]), shape)] * 3
        particles = {"sbndneutrino": particle_rows((12, 0, 1.0), (11, -1, 1.0))}
        images = {"sbndwire": (pixels,) * 3, "sbnd_cosmicseg": label}
        writer.write((1, 1, 1), images, particles, bbox2d={"bbox_neutrino": boxes})
    config = DataConfig(file=(str(tmp_path / "file.h5"),), downsample=1, minibatch_size=1)
    reader = open_labelled(config, TruthConfig())
    stream = training_dataset(reader, config, seed=3, steps=8, augment=True, prepare=prepare)
    flipped = set()
    for batch in stream.batches.as_numpy_iterator():
        assert (batch["event_classes"].tolist(), batch["vertices_known"].tolist()) == ([0], [1.0]) and "more" in batch
        places = batch["label_coordinates"][0]
        for plane in range(3):
            seen = places[plane][batch["label_values"][0, plane] == 2]
            np.testing.assert_allclose(batch["vertices"][0, 0, plane], seen.mean(axis=0) + 0.5, atol=0.51)
        flipped.add(bool(batch["vertices"][0, 0, 0, 0] > 320))
    assert flipped == {False, True}
    # Who does not ask has the batches of before.
    assert "vertices" not in next(evaluation_dataset(open_reader(config), config).generate())


def test_synthetic_events_have_truth_where_it_is_asked_for():
    reader = open_reader(CONFIG, TruthConfig())
    (batch,) = training_dataset(reader, CONFIG, seed=3, steps=1).generate()
    assert set(batch["event_classes"].tolist()) <= {0, 1, 2} and batch["vertices_known"].tolist() == [1.0] * 4
    assert (batch["vertices"][:, 0] >= 0).all() and (batch["vertices"][:, 0] < (640, 1024)).all()
    plain = open_reader(CONFIG).read(3)
    assert plain.truth is None
    np.testing.assert_array_equal(plain.label[2].values, reader.read(3).label[2].values)
