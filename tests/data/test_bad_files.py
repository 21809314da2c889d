"""What is wrong with a file is named in one line; what is merely unusual is read."""

import contextlib
import os
import re
import resource
import tracemalloc

import h5py
import numpy as np
import pytest

from cosmictagger_tf import iotest
from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.errors import DataError
from tests.commands import TINY, refusal, run_module
from tests.data.bad_files import FAULTS
from tests.data.file_changes import columns, table
from tests.data.odd_files import NOT_FOR_THE_LIBRARY, ODDITIES
from tests.data.sound_files import ENTRIES, ENTRY, EXTENTS, IMAGE, LABEL, META, PLANE, SHAPE, VOXELS, sound_file


@pytest.fixture
def path(tmp_path):
    return sound_file(tmp_path / "file.h5")


def read_all(path, reader_name="h5py"):
    reader = open_reader(DataConfig(file=(str(path),), reader=reader_name))
    try:
        return [reader.read(entry) for entry in range(len(reader))]
    finally:
        reader.close()


def run_iotest(path, *arguments):
    argv = [f"--file={path}", "--downsample=0", "--minibatch_size=4", "--read_iterations=2", *arguments]
    return run_command("iotest", iotest.main, iotest.GROUPS, "", "", argv)


def test_there_are_at_least_thirty_kinds():
    assert len(FAULTS) >= 30


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_one_line_that_names_file_entry_plane_and_reason(path, kind, reader_name):
    break_it, message = FAULTS[kind]
    break_it(path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read_all(path, reader_name)
        # Whatever the file says, it is not allocated.
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert re.match(re.escape(str(path)) + f"({message})", line), line
    assert "\n" not in line


@pytest.mark.parametrize("kind", FAULTS)
def test_iotest_says_the_same_line(path, kind, capfd):
    break_it, message = FAULTS[kind]
    break_it(path)
    assert run_iotest(path) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert re.match(re.escape(f"cosmictagger_tf.iotest: {path}") + f"({message})", lines[0]), lines


def test_a_command_that_met_a_fault_ends(path):
    # A thread of TensorFlow's kept it for minutes once: see data/pipeline.py.
    FAULTS["a label of 3"][0](path)
    done = run_module("iotest", f"--file={path}", "--downsample=0", "--minibatch_size=4", check=False, timeout=150)
    assert done.returncode == 2


@pytest.mark.parametrize("kind", ODDITIES)
def test_an_oddity_is_read(path, kind, reader_name):
    sound = read_all(path)
    ODDITIES[kind](path)
    if reader_name == "larcv" and kind in NOT_FOR_THE_LIBRARY:
        with pytest.raises(DataError, match=r"file.h5, entry \d: .*use --reader=h5py"):
            read_all(path, reader_name)
        return
    for before, after in zip(sound, read_all(path, reader_name), strict=True):
        here = before.entry == ENTRY
        for which in ("image", "label"):
            for plane, (a, b) in enumerate(zip(getattr(before, which), getattr(after, which), strict=True)):
                expected = a.dense(SHAPE.height, SHAPE.width)
                if here and _is_emptied(kind, which, plane):
                    expected[:] = 0
                plane_image = b.dense(SHAPE.height, SHAPE.width)
                if here and kind == "a pixel of the label elsewhere" and (which, plane) == ("label", PLANE):
                    assert 1 <= (expected != plane_image).sum() <= 2
                else:
                    np.testing.assert_array_equal(expected, plane_image)
    assert run_iotest(path, f"--reader={reader_name}") == 0


def _is_emptied(kind, which, plane):
    return {
        "an empty plane": plane == PLANE,
        "an empty event": True,
        "an event without planes": True,
        "a label without pixels": which == "label",
        "an image without pixels": which == "image",
    }.get(kind, False)


def test_the_library_refuses_what_it_would_read_wrongly(path):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    with h5py.File(path, "r+") as file:
        file.create_group("/Data/something")
    assert len(read_all(path)) == ENTRIES
    with pytest.raises(DataError, match="the larcv library cannot open a file with /Data/something: use --reader=h5py"):
        read_all(path, "larcv")


def test_the_library_needs_every_column_of_image_meta(path):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    table(META, lambda rows: columns(rows, valid=None, origin=None))(path)
    assert len(read_all(path)) == ENTRIES
    with pytest.raises(DataError, match=rf"file.h5: table {META} has no column origin, .*: use --reader=h5py"):
        read_all(path, "larcv")


@pytest.mark.parametrize("name", [EXTENTS, META, f"{LABEL}/voxels", "/Events/event_id"])
def test_a_filter_that_only_h5py_has(path, name, reader_name):
    sound = read_all(path)
    table(name, lambda rows: rows, chunks=(4,), compression="lzf")(path)
    if reader_name == "larcv":
        message = rf"file.h5: table {name} is compressed with the HDF5 filter 32000 \(lzf\), .*use --reader=h5py"
        with pytest.raises(DataError, match=message):
            read_all(path, reader_name)
        return
    for before, after in zip(sound, read_all(path), strict=True):
        for a, b in zip(before.image + before.label, after.image + after.label, strict=True):
            np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.parametrize("kind", ["u1", ">i2", "<u4", "<i8", "<f2", ">f8"])
def test_charge_of_other_types_is_read_as_it_is(path, kind, reader_name):
    def change(rows):
        rows["value"] = np.floor(rows["value"]) % 200
        return rows

    table(VOXELS, change)(path)
    sound = read_all(path)
    table(VOXELS, lambda rows: columns(rows, value=kind))(path)
    for before, after in zip(sound, read_all(path, reader_name), strict=True):
        for a, b in zip(before.image, after.image, strict=True):
            assert b.values.dtype == np.float32
            np.testing.assert_array_equal(a.values, b.values)


def test_a_file_that_is_being_written(path):
    with h5py.File(path, "r+") as file:
        file["Events"].attrs["open"] = 1
        with pytest.raises(DataError, match=r"file.h5: is being written by another program, or was not closed"):
            # In this process HDF5 would see that it is the same file.
            _read_in_another_process(path)


def _read_in_another_process(path):
    line = refusal("iotest", f"--file={path}", "--downsample=0")
    raise DataError(*re.fullmatch(r"cosmictagger_tf.iotest: (.*?): (.*)", line).groups())


def test_files_of_different_sizes_and_files_without_labels(path, tmp_path):
    other = sound_file(tmp_path / "other.h5", shape=type(SHAPE)(3, 64, 32))
    config = DataConfig(file=(str(path), str(other)))
    with pytest.raises(DataError, match=r"other.h5: has 3 planes of 64 rows x 32 columns, but .*file.h5 has"):
        open_reader(config)
    assert read_all(other)[0].shape == type(SHAPE)(3, 64, 32)
    unlabelled = sound_file(tmp_path / "unlabelled.h5")
    with h5py.File(unlabelled, "r+") as file:
        del file["/Data/sparse2d_sbnd_cosmicseg_group"]
    assert read_all(unlabelled)[0].label is None
    with pytest.raises(DataError, match=r"unlabelled.h5: has no labels, but .*file.h5 has: see --producer_label"):
        open_reader(DataConfig(file=(str(path), str(unlabelled))))


def test_entries_of_a_set_are_named_as_entries_of_their_file(path, tmp_path):
    FAULTS["NaN"][0](path)
    first = sound_file(tmp_path / "first.h5")
    reader = open_reader(DataConfig(file=(str(first), str(path))))
    with pytest.raises(DataError, match=rf"file.h5, entry {ENTRY}, plane {PLANE}: "):
        reader.read(ENTRIES + ENTRY)


@pytest.mark.slow
def test_training_says_the_same_line(path, tmp_path):
    FAULTS["NaN"][0](path)
    options = [f"--file={path}", f"--output_dir={tmp_path}", "--iterations=3", "--minibatch_size=2", *TINY]
    line = refusal("train", *options, "--downsample=0", "--noxla")
    assert f"file.h5, entry {ENTRY}, plane {PLANE}: sbndwire: a pixel's value is nan" in line
    FAULTS["cut in the middle"][0](path)
    assert "is cut short" in refusal("train", *options, "--downsample=0")


def test_opening_reads_no_voxels_whatever_the_length(tmp_path):
    path = sound_file(tmp_path / "file.h5")
    with h5py.File(path) as file:
        where = [file[f"{IMAGE}/voxels"].id.get_chunk_info(i) for i in range(4)]
    data = bytearray(path.read_bytes())
    for place in where:
        data[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    path.write_bytes(data)
    assert len(LarcvFile(str(path), "sbndwire", "sbnd_cosmicseg")) == ENTRIES


def test_too_many_open_files_are_no_fault_of_the_file(tmp_path):
    path = sound_file(tmp_path / "file.h5")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(number) for number in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    with contextlib.ExitStack() as taken:
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with contextlib.suppress(OSError):
            while True:
                taken.callback(os.close, os.dup(0))
        with pytest.raises(DataError, match="ulimit -n"):
            LarcvFile(str(path), "sbndwire", "sbnd_cosmicseg")


def test_a_size_that_cannot_be_halved_so_often_is_one_line(path, capfd):
    assert run_iotest(path, "--downsample=6") == 2
    assert "--downsample=6: the image would be halved 6 times, but its height" in capfd.readouterr().err
    assert "it must be at most 5" in refusal("display", "--nopredict", f"--file={path}", "--downsample=6")
