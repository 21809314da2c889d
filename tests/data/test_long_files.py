"""A file of as many events as the training set: opened without its voxels, read in bounded memory."""

import os
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from tests.commands import ROOT
from tests.data.sound_files import SHAPE, sound_planes

EVENTS = 43_075


def tiled_file(path, entries, voxels=4_000):
    """A file of `entries` events that share the voxels of four: the tables that are looked up are of full length."""
    rng = np.random.default_rng(1)
    with LarcvWriter(path, SHAPE) as writer:
        for entry in range(4):
            image, label = sound_planes(rng, pixels=voxels // 12)
            writer.write((1, 1, entry), {"sbndwire": image, "sbnd_cosmicseg": label})
    with h5py.File(path, "r+") as file:
        for name in ("Data/sparse2d_sbndwire_group", "Data/sparse2d_sbnd_cosmicseg_group"):
            group = file[name]
            for table in ("voxel_extents", "image_meta"):
                _replace(group[table], np.resize(group[table][:], 3 * entries))
            extents = np.resize(group["extents"][:], entries)
            extents["first"] = 3 * np.arange(entries)
            _replace(group["extents"], extents)
        ids = np.resize(file["Events/event_id"][:], entries)
        ids["event"] = np.arange(entries)
        _replace(file["Events/event_id"], ids)
    return path


def _replace(table, rows):
    table.resize((len(rows),))
    table[:] = rows


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    return tiled_file(folder / "short.h5", 8), tiled_file(folder / "long.h5", EVENTS)


def open_file(path):
    return LarcvFile(str(path), "sbndwire", "sbnd_cosmicseg")


def test_a_long_file_opens_as_quickly_as_a_short_one(files):
    def best(path):
        times = []
        for _ in range(15):
            began = time.perf_counter()
            open_file(path).close()
            times.append(time.perf_counter() - began)
        return min(times)

    # It has 5,000 times the entries.
    assert best(files[1]) < 5 * best(files[0])


def test_entries_far_into_it_are_right(files):
    short, long = open_file(files[0]), open_file(files[1])
    assert len(long) == EVENTS
    for entry in (0, 1, 4321, EVENTS - 2, EVENTS - 1):
        assert long.event_id(entry) == (1, 1, entry)
        for a, b in zip(long.read(entry).image, short.read(entry % 4).image, strict=True):
            np.testing.assert_array_equal(a.values, b.values)


MEMORY = """
import resource, sys
import numpy as np
from cosmictagger_tf.data.larcv_h5 import LarcvFile
file = LarcvFile(sys.argv[1], "sbndwire", "sbnd_cosmicseg")
order = np.random.default_rng(0).permutation(len(file))
for number, entry in enumerate(order[:3000]):
    if number == 1000:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file.read(int(entry))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_what_is_read(files):
    command = [sys.executable, "-c", MEMORY, str(files[1])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=os.environ)
    assert float(done.stdout) < 5, f"{done.stdout} MB"
