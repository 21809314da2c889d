"""predict: the file of scores, as a user gets it."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from cosmictagger_tf import files
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.data.transforms import at_stored_pixels, downsample_event
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.inference.predict.event_predictions import EventPrediction
from cosmictagger_tf.inference.predict.scores_file import WorkFolder, plan_parts
from tests.commands import ROOT, refusal, run_module
from tests.data.larcv_tools import library_content, library_images
from tests.inference.conftest import same_content, scores_of


@pytest.fixture(scope="module")
def scored(run, simulated_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("scored") / "scored.h5"
    done = run_module("predict", *run, f"--file={simulated_file}", f"--output={path}", "--minibatch_size=2")
    assert done.stdout.splitlines()[-1] == f"written: {path} (10 events)"
    assert "predicted 10/10 events" in done.stderr and "images/s" in done.stderr
    return path


def test_the_file_has_the_inputs_products_and_a_score_for_every_stored_pixel(scored, simulated_file):
    with h5py.File(simulated_file) as before, h5py.File(scored) as after:
        assert set(after["Data"]) == set(before["Data"]) | {
            "sparse2d_neutrino_prediction_group",
            "sparse2d_cosmic_prediction_group",
        }
        assert (after["Events/event_id"][:] == before["Events/event_id"][:]).all()
        for name in before["Data"]:
            for table in before[f"Data/{name}"]:
                path = f"Data/{name}/{table}"
                assert before[path][:].tobytes() == after[path][:].tobytes(), path
    file = LarcvFile(str(simulated_file), "sbndwire", "")
    for entry in (0, 9):
        for producer in ("neutrino_prediction", "cosmic_prediction"):
            for image, scores in zip(file.read(entry).image, scores_of(scored, entry, producer), strict=True):
                np.testing.assert_array_equal(image.rows, scores.rows)
                np.testing.assert_array_equal(image.columns, scores.columns)
                assert (scores.values >= 0).all() and (scores.values <= 1).all()
    assert np.ptp(scores_of(scored, 0)[0].values) > 0


def test_a_shift_of_the_background_moves_its_odds_and_nothing_else(run, scored, simulated_file, tmp_path):
    path, measured = tmp_path / "shifted.h5", tmp_path / "measured.h5"
    shutil.copy(simulated_file, measured)
    with h5py.File(measured, "a") as file:
        file["Data/sparse2d_sbndwire_group/image_meta"][:, "origin"] = (1.5, -2.0)
    run_module("predict", *run, f"--file={measured}", f"--output={path}", "--background_shift=-1.5")
    with h5py.File(path) as file:
        metas = [file[f"Data/sparse2d_{name}_group/image_meta"][:] for name in ("sbndwire", "cosmic_prediction")]
        assert metas[0]["origin"].tolist() == [[1.5, -2.0]] * 30 and (metas[0] == metas[1]).all()
    for plane in range(3):
        (n0, c0), (n1, c1) = (
            [scores_of(file, 3, f"{kind}_prediction")[plane].values.astype(float) for kind in ("neutrino", "cosmic")]
            for file in (scored, path)
        )
        clear = (n0 > 1e-3) & (c0 > 1e-3) & (n0 + c0 < 0.999)
        assert clear.any()
        odds = [np.log((n + c) / (1 - n - c))[clear] for n, c in ((n0, c0), (n1, c1))]
        np.testing.assert_allclose(odds[1] - odds[0], 1.5, atol=1e-3)
        np.testing.assert_allclose((n1 / c1)[clear], (n0 / c0)[clear], rtol=1e-4)


@pytest.fixture(scope="module")
def long_work(run, simulated_file, tmp_path_factory):
    """The flags of 80 events, so that a signal sent after the first part finds most of them left, and their scores."""
    flags = [*run, "--file=" + ",".join([str(simulated_file)] * 8), "--minibatch_size=2"]
    path = tmp_path_factory.mktemp("long") / "scored.h5"
    run_module("predict", *flags, f"--output={path}")
    return flags, path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.exhaustive),
        (signal.SIGKILL, -9),
    ],
)
def test_a_stopped_run_goes_on_and_ends_with_the_same_file(long_work, tmp_path, number, status):
    flags, expected = long_work
    path = tmp_path / "scored.h5"
    flags = [*flags, f"--output={path}"]
    command = [sys.executable, "-m", "cosmictagger_tf.predict", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    part = tmp_path / ".scored.h5.work" / "part_000000.npz"
    while not part.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == status
    assert not path.exists()
    done = run_module("predict", *flags)
    assert "resumed: " in done.stdout
    assert path.read_bytes() == expected.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["scored.h5"]


def test_works_without_labels_and_replaces_older_scores(run, scored, tmp_path):
    plain, again = tmp_path / "plain.h5", tmp_path / "again.h5"
    shutil.copy(scored, plain)
    with h5py.File(plain, "a") as file:
        del file["Data/sparse2d_sbnd_cosmicseg_group"]
    run_module("predict", *run, f"--file={plain}", f"--output={again}", "--minibatch_size=2")
    with h5py.File(scored, "a") as file:
        label = file["Data/sparse2d_sbnd_cosmicseg_group"]
        with h5py.File(again, "a") as other:
            other.copy(label, "Data/sparse2d_sbnd_cosmicseg_group")
    same_content(scored, again)


def test_users_mistakes_are_one_line(run, simulated_file, scored, tmp_path):
    before = scored.read_bytes()
    assert "--overwrite" in refusal("predict", *run, f"--file={simulated_file}", f"--output={scored}")
    assert "is an input" in refusal("predict", *run, f"--file={scored}", f"--output={scored}", "--overwrite")
    pattern = f"--file={scored.parent}/*{scored.name[-6:]}"
    assert "is an input" in refusal("predict", *run, pattern, f"--output={scored}", "--overwrite")
    assert "is a folder" in refusal("predict", *run, f"--file={scored}", f"--output={tmp_path}", "--overwrite")
    assert "no run is there" in refusal("predict", f"--output_dir={tmp_path}", f"--file={scored}", "--output=x.h5")
    assert "--output: cannot write to /proc/no" in refusal(
        "predict", *run, f"--file={scored}", "--output=/proc/no/x.h5"
    )
    assert scored.read_bytes() == before
    broken = tmp_path / "broken.h5"
    shutil.copy(simulated_file, broken)
    with h5py.File(broken, "a") as file:
        file["Data/sparse2d_sbndwire_group/voxels"][100, "id"] = 1 << 40
    line = refusal("predict", *run, f"--file={broken}", f"--output={tmp_path}/out.h5")
    assert "broken.h5, entry 0, plane 0" in line
    assert not (tmp_path / "out.h5").exists()


def test_scores_that_are_not_finite_are_refused_by_event_and_leave_no_file(run, simulated_file, tmp_path):
    loud = tmp_path / "loud.h5"
    shutil.copy(simulated_file, loud)
    with h5py.File(loud, "a") as file:
        voxels = file["Data/sparse2d_sbndwire_group/voxels"]
        rows = voxels[...]
        rows["value"] *= 1e6
        voxels[...] = rows
    half = [*run, f"--file={loud}", "--precision=mixed", "--minibatch_size=1"]
    commands = {
        "predict": [f"--output={tmp_path}/scored.h5"],
        "evaluate": [f"--report={tmp_path}/report.html", "--nohtml"],
        "display": ["--entries=0", f"--display_dir={tmp_path}/pictures"],
    }
    for name, flags in commands.items():
        done = run_module(name, *half, *flags, check=False)
        # Where oneDNN is asked for on a processor without AVX-512, it has a line on half precision of its own.
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("cosmictagger_tf.")]
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "loud.h5, entry 0" in line and ", plane " in line, line
        assert "are not finite: use --precision=float32" in line, line
    assert not [*tmp_path.glob("*.json"), *tmp_path.glob("scored.h5"), *tmp_path.glob("pictures/*")]
    run_module("predict", *run, f"--file={loud}", f"--output={tmp_path}/scored.h5", "--max_entries=1")


def test_a_block_gives_its_score_to_each_of_its_pixels():
    rng = np.random.default_rng(3)
    shape = ImageShape(1, 16, 8)
    ids = np.sort(rng.choice(128, 40, replace=False)).astype(np.int32)
    columns, rows = np.divmod(ids, 16)
    pixels = PlanePixels(rows, columns, np.ones(40, np.float32))
    blocks = downsample_event(Event(0, (0, 0, 0), (pixels,), None, shape), 2).image[0]
    values = rng.random((len(blocks), 2)).astype(np.float32)
    spread = at_stored_pixels(pixels, values, 2, shape)
    expected = {(r, c): v for r, c, v in zip(blocks.rows, blocks.columns, values, strict=True)}
    for index in (0, 1):
        wanted = [expected[r // 4, c // 4][index] for r, c in zip(rows, columns, strict=True)]
        np.testing.assert_array_equal(spread[index].values, np.float32(wanted))
    assert at_stored_pixels(pixels, np.ones((40, 2), np.float32), 0, shape)[0].rows is rows


def test_parts_cover_the_events_once_and_outlive_a_cut(tmp_path, caplog):
    for events, size in ((1, 1), (10, 2), (17, 3), (5, 20)):
        parts = plan_parts(events, size)
        assert [e for part in parts for e in range(part.first, part.last)] == list(range(events))
    work = WorkFolder(tmp_path / "out.h5")
    work.begin({"weights": "a"})
    part = plan_parts(2, 1)[0]
    scores = [np.full((n, 2), n, np.float32) for n in (3, 0, 2)]
    predictions = [EventPrediction(scores, np.arange(3), np.full(3, np.nan))] * 2
    work.save(part, predictions)
    assert [[len(plane) for plane in event.scores] for event in work.load(part)] == [[3, 0, 2], [3, 0, 2]]
    work.begin({"weights": "a"})
    assert work.has(part) and not caplog.messages
    file = work.path / "part_000000.npz"
    file.write_bytes(file.read_bytes()[:-30])
    assert not work.has(part)
    work.save(part, predictions)
    work.begin({"weights": "b"})
    assert not work.has(part) and "weights changed" in caplog.messages[0]


def test_two_processes_do_not_write_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    first, second = (WorkFolder(tmp_path / "out.h5") for _ in range(2))
    with first.locked():
        first.begin({"weights": "a"})
        with pytest.raises(
            ConfigError, match=r"process \d+ on .* is writing .*out\.h5: wait, or give another --output"
        ):
            second.locked().__enter__()
        assert first.record_file.exists()
        first.remove()
    with second.locked():
        second.begin({"weights": "b"})


@pytest.mark.larcv
def test_the_larcv_library_reads_the_scores_and_what_was_carried_over(run, any_file, tmp_path):
    pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    path = tmp_path / "scored.h5"
    run_module("predict", *run, f"--file={any_file}", f"--output={path}")
    before, after = library_content(any_file, 1), library_content(path, 1)
    assert {("sparse2d", "sbndwire"), ("sparse2d", "sbnd_cosmicseg"), ("particle", "sbndneutrino")} < before.keys()
    assert {name: after[name] for name in before} == before
    images = library_images(path, 1, "neutrino_prediction")
    for image, scores in zip(images, scores_of(path, 1), strict=True):
        np.testing.assert_array_equal(image, scores.dense(*image.shape))


@pytest.mark.slow
@pytest.mark.horovod
def test_ranks_share_the_work_and_the_file_is_the_same(run, simulated_file, scored, tmp_path):
    pytest.importorskip("horovod", reason="Horovod is not installed: scripts/install_horovod")
    launcher = [Path(sys.executable).parent / "horovodrun", "--gloo", "-np", "2"]
    path = tmp_path / "shared.h5"
    flags = [*run, f"--file={simulated_file}", f"--output={path}", "--minibatch_size=2"]
    command = [*launcher, sys.executable, "-m", "cosmictagger_tf.predict", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("written: ") == 1
    assert path.read_bytes() == scored.read_bytes()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode and (done.stdout + done.stderr).count("exists already") == 1
