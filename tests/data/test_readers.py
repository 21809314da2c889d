"""Two readers, one result: through h5py and through the larcv library; and downsampling as larcv3 does it."""

import contextlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import expand, open_reader
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.errors import ConfigError, MissingPackageError
from tests.commands import run_module
from tests.data.file_changes import columns, table, value
from tests.data.larcv_tools import open_library
from tests.data.sound_files import META, sound_file

LEVELS = range(7)


def assert_same_pixels(a, b):
    for name in ("rows", "columns", "values"):
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def assert_same_event(a, b):
    assert (a.entry, a.event_id, a.shape) == (b.entry, b.event_id, b.shape)
    for which in ("image", "label"):
        for x, y in zip(getattr(a, which), getattr(b, which), strict=True):
            assert_same_pixels(x, y)


@pytest.mark.larcv
def test_both_readers_give_the_same_arrays(any_file):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    ours = open_reader(DataConfig(file=(str(any_file),)))
    library = open_reader(DataConfig(file=(str(any_file),), reader="larcv"))
    for name in ("shape", "pixel_size", "has_labels"):
        assert getattr(ours, name) == getattr(library, name)
    assert len(ours) == len(library)
    # Out of order, and one twice: the library keeps what it read last.
    for entry in (0, 2, 1, 1):
        a, b = ours.read(entry), library.read(entry)
        for level in LEVELS:
            assert_same_event(downsample_event(a, level), downsample_event(b, level))
    library.close()
    ours.close()


@pytest.mark.larcv
@pytest.mark.parametrize("level", LEVELS)
def test_downsampling_is_the_librarys(any_file, level):
    larcv = pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    event = downsample_event(open_reader(DataConfig(file=(str(any_file),))).read(1), level)
    manager = open_library(any_file)
    manager.read_entry(1)
    # The larcv library adds up in float32, this package in float64.
    for which, producer, pool, rtol in (
        ("image", "sbndwire", larcv.kPoolAverage, 3e-6),
        ("label", "sbnd_cosmicseg", larcv.kPoolMax, 0),
    ):
        for pixels, tensor in zip(
            getattr(event, which), manager.get_data("sparse2d", producer).as_vector(), strict=True
        ):
            small = tensor.compress(2**level, pool)
            np.testing.assert_array_equal(pixels.columns * event.shape.height + pixels.rows, small.indexes())
            np.testing.assert_allclose(pixels.values, small.values(), rtol=rtol)
    manager.finalize()


@pytest.mark.parametrize("level", LEVELS)
def test_downsampling_is_the_dense_one(any_file, level):
    reader = open_reader(DataConfig(file=(str(any_file),)))
    full = reader.read(0)
    small = downsample_event(full, level)
    (h, w), size = (reader.shape.height, reader.shape.width), 2**level
    for which, pool in (("image", np.mean), ("label", np.max)):
        for pixels, before in zip(getattr(small, which), getattr(full, which), strict=True):
            blocks = before.dense(h, w).astype(np.float64).reshape(h // size, size, w // size, size)
            expected = pool(blocks, axis=(1, 3)).astype(np.float32)
            np.testing.assert_allclose(pixels.dense(h // size, w // size), expected, rtol=1e-6)


def test_without_the_library_its_installation_is_named(three_events, monkeypatch):
    monkeypatch.setitem(sys.modules, "larcv", None)
    with pytest.raises(MissingPackageError, match=r"--reader=larcv needs the package larcv.*scripts/install_larcv"):
        open_reader(DataConfig(file=(str(three_events),), reader="larcv"))


def test_numpy_2_is_refused_by_name(three_events, monkeypatch):
    monkeypatch.setitem(sys.modules, "larcv", types.ModuleType("larcv"))
    monkeypatch.setattr(np, "__version__", "2.1.3")
    with pytest.raises(ConfigError, match=r"NumPy 2\.1\.3 .*numpy<2.*--reader=h5py"):
        open_reader(DataConfig(file=(str(three_events),), reader="larcv"))


@pytest.mark.larcv
@pytest.mark.slow
def test_the_library_keeps_off_the_screen(three_events):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    done = run_module("iotest", f"--file={three_events}", "--reader=larcv", "--read_iterations=3", "--minibatch_size=1")
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["3", "3"], done.stdout


def test_brackets_are_a_pattern_or_a_part_of_a_name(tmp_path):
    for name in ("run[1]/a.h5", "run[1]/b.h5", "set_1.h5", "set_[1].h5"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def expanded(pattern):
        return [str(Path(file).relative_to(tmp_path)) for file in expand((f"{tmp_path}/{pattern}",))]

    assert expanded("set_[1].h5") == ["set_[1].h5"], "a file of that name"
    assert expanded("set_[12].h5") == ["set_1.h5"]
    assert expanded("run[1]/*.h5") == ["run[1]/a.h5", "run[1]/b.h5"]


def test_the_most_voxels_are_those_of_the_longest_list(any_file):
    with contextlib.closing(open_reader(DataConfig(file=(str(any_file),)))) as reader:
        longest = max(len(plane) for i in range(len(reader)) for plane in reader.read(i).image + reader.read(i).label)
        assert reader.most_voxels() == longest
    with contextlib.closing(open_reader(DataConfig(file=(str(any_file),), first_entry=1, max_entries=1))) as one:
        event = one.read(0)
        assert one.most_voxels() == max(len(plane) for plane in event.image + event.label)


SIZES = {
    "cm": ((614.4, 439.466), (439.466 / 32, 614.4 / 64)),
    "pixels": ((64, 32), None),
    "no sizes": ((0, 0), None),
    "not finite": ((float("nan"), 1), None),
}


@pytest.mark.parametrize("name", SIZES)
def test_image_meta_tells_the_size_of_a_pixel(tmp_path, name):
    sizes, expected = SIZES[name]
    path = sound_file(tmp_path / "sizes.h5")

    def size():
        with contextlib.closing(open_reader(DataConfig(file=(str(path),)))) as reader:
            return reader.pixel_size

    value(META, "image_sizes", slice(None), sizes)(path)
    assert size() == pytest.approx(expected)
    table(META, lambda rows: columns(rows, image_sizes=None))(path)
    assert size() is None
