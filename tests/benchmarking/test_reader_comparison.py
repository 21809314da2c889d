"""The readers side by side: the same content, and a table of what each takes."""

import numpy as np
import pytest

from cosmictagger_tf import iotest
from cosmictagger_tf.benchmarking.larcv_queue import MOST_VOXELS, LarcvQueue
from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.errors import DataError
from tests.commands import run_module
from tests.data.file_changes import table
from tests.data.sound_files import VOXELS, sound_file


@pytest.mark.larcv
@pytest.mark.parametrize("downsample", [0, 2])
def test_the_queue_reads_what_we_read(three_events, downsample):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    reader = open_reader(DataConfig(file=(str(three_events),)))
    queue = LarcvQueue(str(three_events), ("sbndwire", "sbnd_cosmicseg"), 3, downsample)
    wanted = [np.array([2, 0]), np.array([1, 1])]
    batches = list(queue.read(iter(wanted)))
    assert len(batches) == len(wanted)
    for entries, (image, label) in zip(wanted, batches, strict=True):
        assert image.shape == label.shape == (2, 3, MOST_VOXELS, 3)
        for place, entry in enumerate(entries):
            event = downsample_event(reader.read(int(entry)), downsample)
            for plane in range(3):
                for ours, theirs in ((event.image, image), (event.label, label)):
                    assert_same_image(ours[plane], theirs[place, plane], event.shape)


def assert_same_image(pixels, rows, shape):
    wires, ticks, values = rows[rows[:, 2] != -999].T
    theirs = PlanePixels(ticks.astype(int), wires.astype(int), values)
    assert len(theirs) == len(pixels)
    size = (shape.height, shape.width)
    np.testing.assert_allclose(theirs.dense(*size), pixels.dense(*size), rtol=3e-6)


@pytest.mark.larcv
def test_the_queue_is_given_no_file_that_the_library_cannot_read(tmp_path):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    path = sound_file(tmp_path / "file.h5")
    table(VOXELS, lambda rows: rows, chunks=(100,), compression="lzf")(path)
    with pytest.raises(DataError, match="the HDF5 filter 32000"):
        LarcvQueue(str(path), ("sbndwire", "sbnd_cosmicseg"), 3, 0)


@pytest.mark.slow
def test_iotest_compares_and_ends(three_events):
    # In another process: what the larcv library leaves running would keep it from ending.
    shown = run_module("iotest", f"--file={three_events}", "--compare_readers", "--read_iterations=4", timeout=300)
    assert shown.stderr == ""
    lines = [line.split() for line in shown.stdout.splitlines()[2:]]
    cases = {(int(line[0]), int(line[1])) for line in lines}
    assert cases == {(downsample, batch) for downsample in (0, 2) for batch in (1, 4, 16)}
    for line in lines:
        assert all(float(number) > 0 for number in line[-4:-1]), line
    assert {line[2] for line in lines} >= {"inflate", "h5py"}
    # What only the larcv library can do is left out where it is not installed.
    assert len(lines) in (12, 18)


def test_what_cannot_be_compared_is_one_line(three_events, capfd):
    for wrong in (["--synthetic"], [f"--file={three_events}", "--max_entries=2"]):
        assert run_command("iotest", iotest.main, iotest.GROUPS, "", "", [*wrong, "--compare_readers"]) == 2
        assert "--compare_readers: " in capfd.readouterr().err
