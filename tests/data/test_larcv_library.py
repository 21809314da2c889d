"""Held against the larcv library itself: what it reads from a file, and what it reads from files that we wrote."""

import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.networks.scatter import ScatterPixels
from tests.data.larcv_tools import library_images

pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
pytestmark = pytest.mark.larcv

PRODUCERS = {"image": "sbndwire", "label": "sbnd_cosmicseg"}


@pytest.mark.parametrize("entry", [0, 1, 2])
def test_the_scatter_on_the_device_equals_the_library(any_file, entry):
    reader = open_reader(DataConfig(file=(str(any_file),)))
    event = reader.read(entry)
    batch = make_batch([event], 1, reader.shape)
    scatter = ScatterPixels(reader.shape.height, reader.shape.width)
    for which, producer in PRODUCERS.items():
        dense = np.asarray(scatter(batch[f"{which}_coordinates"], batch[f"{which}_values"]))[0]
        np.testing.assert_array_equal(dense, library_images(any_file, entry, producer))


def test_files_that_we_write_open_in_the_library(any_file, tmp_path):
    reader = open_reader(DataConfig(file=(str(any_file),)))
    with LarcvWriter(tmp_path / "copy.h5", reader.shape) as writer:
        for entry in range(len(reader)):
            event = reader.read(entry)
            writer.write(event.event_id, {"sbndwire": event.image, "sbnd_cosmicseg": event.label})
    for entry in range(len(reader)):
        for producer in PRODUCERS.values():
            copied = library_images(tmp_path / "copy.h5", entry, producer)
            np.testing.assert_array_equal(copied, library_images(any_file, entry, producer))
