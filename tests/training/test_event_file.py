"""Event files without TensorFlow, beside those that TensorFlow writes."""

import io
import os
import resource

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cosmictagger_tf.errors import WriteError
from cosmictagger_tf.training.event_file import EventFile

SCALARS = {"loss": 0.1, "plane0/iou": float("nan"), "images_per_second": 1e9}
PICTURES = {
    "plane0/input": np.random.default_rng(1).integers(0, 256, (5, 9, 3), np.uint8),
    "plane1/label": np.full((7, 2, 3), 255, np.uint8),
}


def shown(folder):
    """By tag, what TensorBoard reads of a folder: metadata, and the steps with their tensors."""
    read = EventAccumulator(str(folder), {"tensors": 0}).Reload()
    return {tag: (read.SummaryMetadata(tag), read.Tensors(tag)) for tag in read.Tags()["tensors"]}


def test_tensorboard_shows_what_tensorflow_would_have_written(tmp_path):
    file = EventFile(tmp_path / "ours")
    with tf.summary.create_file_writer(str(tmp_path / "theirs")).as_default(step=3):
        for name, value in SCALARS.items():
            tf.summary.scalar(name, value)
        for name, pixels in PICTURES.items():
            tf.summary.image(name, pixels[None])
    file.add_scalars(3, SCALARS)
    file.add_pictures(3, PICTURES)
    ours, theirs = shown(tmp_path / "ours"), shown(tmp_path / "theirs")
    assert set(ours) == set(theirs) == {*SCALARS, *PICTURES}
    for tag, (metadata, (event,)) in ours.items():
        expected, (other,) = theirs[tag]
        assert metadata == expected and metadata.plugin_data.plugin_name == ("scalars" if tag in SCALARS else "images")
        assert event.step == other.step == 3
        one, two = tf.make_ndarray(event.tensor_proto), tf.make_ndarray(other.tensor_proto)
        assert one.shape == two.shape and one.dtype == two.dtype
        if tag in SCALARS:
            np.testing.assert_array_equal(one, two)
        else:
            assert one[:2].tolist() == two[:2].tolist()
            for png in (one[2], two[2]):
                picture = Image.open(io.BytesIO(png))
                assert picture.mode == "RGB"
                np.testing.assert_array_equal(np.asarray(picture), PICTURES[tag])


def test_what_is_added_is_in_the_file_at_once(tmp_path):
    file = EventFile(tmp_path)
    for step in range(1, 4):
        file.add_scalars(step, SCALARS)
        assert [event.step for event in shown(tmp_path)["loss"][1]] == list(range(1, step + 1))
    file.close()


def test_two_files_of_a_second_are_two(tmp_path):
    for _ in range(2):
        EventFile(tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    EventFile(folder).close()
    (file,) = folder.iterdir()
    assert file.stat().st_size > 0


def test_a_disk_that_takes_no_more_is_one_line_with_the_folder(tmp_path):
    file = EventFile(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(WriteError, match=f"{tmp_path}: cannot be written: File too large"):
            file.add_pictures(1, PICTURES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(WriteError, match=f"{tmp_path}/logs/train: cannot be written: Not a directory"):
        EventFile(tmp_path / "logs/train")
