"""What made the cosmic pixels, where files tell."""

import h5py
import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.cosmic_primaries import open_primaries
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.errors import DataError
from tests.data.sound_files import SHAPE, sound_planes

PRODUCER = "sbnd_cosmic_primary"


@pytest.fixture
def told(tmp_path):
    """A file that tells; of three entries."""
    rng, path = np.random.default_rng(4), tmp_path / "told.h5"
    with LarcvWriter(path, SHAPE) as writer:
        for entry in range(3):
            image, label = sound_planes(rng, SHAPE)
            writer.write((1, 2, entry), {"sbndwire": image, "sbnd_cosmicseg": label, PRODUCER: label})
    return path


def opened(*paths, **options):
    config = DataConfig(file=tuple(map(str, paths)), **options)
    reader = open_reader(config)
    return reader, open_primaries(reader, config, PRODUCER)


def test_the_entries_are_those_of_the_data_set(told):
    reader, primaries = opened(told, told, first_entry=2, max_entries=3)
    assert len(primaries) == len(reader) == 3
    for entry in range(3):
        for made, label in zip(primaries.read(entry).image, reader.read(entry).label, strict=True):
            np.testing.assert_array_equal(made.rows, label.rows)
            np.testing.assert_array_equal(made.values, label.values)


def test_a_set_does_not_tell_unless_all_of_its_files_do(told, tmp_path):
    silent = tmp_path / "silent.h5"
    silent.write_bytes(told.read_bytes())
    with h5py.File(silent, "a") as file:
        del file[f"Data/sparse2d_{PRODUCER}_group"]
    assert opened(silent)[1] is None
    assert opened(told, silent)[1] is None


def test_a_broken_product_is_named(told):
    with h5py.File(told, "a") as file:
        del file[f"Data/sparse2d_{PRODUCER}_group/voxels"]
    with pytest.raises(DataError, match=PRODUCER):
        opened(told)
