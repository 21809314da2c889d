"""A file that another takes the place of, or that is written to, while a command reads it: nothing is made of two."""

import os
import shutil

import h5py
import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig, NetworkConfig, PredictConfig
from cosmictagger_tf.data import tables
from cosmictagger_tf.data.cosmic_primaries import open_primaries
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.larcv_products import ProductFile, Products
from cosmictagger_tf.data.true_neutrinos import read_interactions
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.predict.event_predictions import EventPrediction
from cosmictagger_tf.inference.predict.predicted_products import PredictedProducts
from cosmictagger_tf.inference.predict.scores_file import WorkFolder, copied_products, join_parts, plan_parts, publish

PRODUCERS = ("neutrino_prediction", "cosmic_prediction")


def replace(path):
    """Another file of the same size and time takes its place."""
    stat = path.stat()
    other = path.with_name("other.h5")
    shutil.copy(path, other)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(other, path)


def write_to(path):
    """The same file has other bytes, and the size that it had: of its last pixels."""
    with h5py.File(path) as file:
        voxels = file["Data/sparse2d_sbndwire_group/voxels"].id
        place = voxels.get_chunk_info(voxels.get_num_chunks() - 1).byte_offset
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(bytes(100))


@pytest.fixture
def path(three_events, tmp_path):
    here = tmp_path / "in.h5"
    shutil.copy(three_events, here)
    return here


@pytest.mark.parametrize("change", [replace, write_to])
def test_whatever_opens_the_file_again_notices(path, change):
    config = DataConfig(file=(str(path),), producer_label="")
    reader = open_reader(config)
    products = Products(reader)
    products.read(0)
    products.close()
    change(path)
    for again in (
        lambda: products.read(1),
        lambda: copied_products(reader, PRODUCERS),
        lambda: read_interactions(reader, "sbndneutrino"),
        lambda: open_primaries(reader, config, "sbnd_cosmic_primary"),
        lambda: ProductFile(str(path), same_as=reader.parts[0].identity),
    ):
        with pytest.raises(DataError, match=r"in\.h5: was replaced or written to"):
            again()
    ProductFile(str(path)).close()


def test_the_joined_file_is_of_one_input(path, tmp_path):
    reader = open_reader(DataConfig(file=(str(path),), producer_label=""))
    work, parts = WorkFolder(tmp_path / "s.h5"), plan_parts(len(reader), 2)
    work.path.mkdir()
    for part in parts:
        events = (reader.read(entry) for entry in range(part.first, part.last))
        scores = [[np.zeros((len(plane.rows), 2), np.float32) for plane in event.image] for event in events]
        nothing = np.zeros(reader.shape.planes, np.int64), np.full(reader.shape.planes, np.nan)
        work.save(part, [EventPrediction(of_event, *nothing) for of_event in scores])

    copied = copied_products(reader, PRODUCERS)
    predicted = PredictedProducts(PredictConfig(), NetworkConfig(), DataConfig(downsample=0))

    def join(advance=lambda events: None):
        join_parts(reader, work, parts, predicted, copied, advance)
        publish(work)

    join()
    assert len(h5py.File(work.output)["Events/event_id"]) == len(reader)
    work.output.unlink()
    once = iter([True])
    with pytest.raises(DataError, match="was replaced or written to"):
        join(lambda events: os.utime(path) if next(once, False) else None)
    assert not work.output.exists()


def test_what_cannot_be_read_any_more_is_not_called_broken(path):
    reader = open_reader(DataConfig(file=(str(path),)))
    write_to(path)
    with pytest.raises(DataError, match="was replaced or written to") as raised:
        [reader.read(entry) for entry in range(len(reader))]
    assert raised.value.entry is None, "no bad event, which may be skipped"
    with pytest.raises(DataError, match="chunk is broken"):
        reader = open_reader(DataConfig(file=(str(path),)))
        [reader.read(entry) for entry in range(len(reader))]


def test_the_path_is_opened_once(path, monkeypatch):
    opened = tables.open_hdf5

    def open_and_replace(name):
        file = opened(name)
        replace(path)
        return file

    monkeypatch.setattr(tables, "open_hdf5", open_and_replace)
    file = tables.Hdf5File(str(path))
    assert os.fstat(file.descriptor).st_ino == os.fstat(file.h5.id.get_vfd_handle()).st_ino != path.stat().st_ino
    file.close()
