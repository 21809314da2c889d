"""Faults through the commands: what a user sees of them."""

import json

import h5py
import pytest

from cosmictagger_tf.config import OutputConfig
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.training.checkpoints.store import CheckpointStore
from scripts.faults.kills import SMALL
from tests.commands import run_module
from tests.data.bad_files import FAULTS
from tests.data.sound_files import ENTRY, HERE, IMAGE, sound_file

STEPS = ["--iterations=6", "--minibatch_size=1", "--checkpoint_iteration=1", "--aux_epochs=0", "--seed=1"]


def call_command(name, *flags):
    """Status, output and errors of a command."""
    done = run_module(name, *flags, check=False)
    return done.returncode, done.stdout, done.stderr


def trained_run(folder):
    """A run of one step on a sound file; returns that file."""
    path = sound_file(folder / "sound.h5")
    run_module("train", *SMALL, f"--file={path}", f"--output_dir={folder}", "--iterations=1")
    return path


def one_line(status, err, command="train") -> str:
    assert status == 2, err
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"cosmictagger_tf.{command}: "), err
    return lines[0]


def manifest(folder, step):
    return json.loads((folder / f"test/checkpoints/step_{step:08d}/manifest.json").read_text())


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    folder = RunFolder(OutputConfig(str(tmp_path), "test"))
    folder.prepare()
    flags = [*SMALL, *STEPS, f"--file={sound_file(tmp_path / 'a.h5')}", f"--output_dir={tmp_path}"]
    with folder.locked():
        status, _, err = call_command("train", *flags)
    assert "/test: process " in one_line(status, err) and "use another --run_id" in err


@pytest.mark.slow
def test_an_event_that_makes_a_number_not_finite_is_named(tmp_path):
    path = sound_file(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        rows = file[f"{IMAGE}/voxels"][:]
        rows["value"][ENTRY * 1200 : (ENTRY + 1) * 1200] = 3e38
        file[f"{IMAGE}/voxels"][:] = rows
    flags = [*SMALL, *STEPS, f"--file={path}", f"--output_dir={tmp_path}"]
    status, _, err = call_command("train", *flags)
    line = one_line(status, err)
    assert "is not finite, of the events " in line and f"a.h5, entry {ENTRY}: it made no update" in line
    step = int(line.split(" step ")[1].split(":")[0])
    store = CheckpointStore(tmp_path / "test/checkpoints")
    assert store.steps() == list(range(max(1, step - 3), step)), "the checkpoints before it"
    for kept in store.steps():
        assert store.verify(kept)["step"] == kept
    history = (tmp_path / "test/history.csv").read_text()
    assert "nan" not in history and f"\ntrain,{step}," not in history


@pytest.mark.slow
def test_bad_events_are_skipped_where_they_may_be(tmp_path):
    trained_run(tmp_path)
    path = sound_file(tmp_path / "a.h5")
    FAULTS["NaN"][0](path)
    message = f"skipped: {path}{HERE}sbndwire: a pixel's value is nan (1 of at most 1 bad event)"
    flags = [*SMALL, *STEPS, f"--file={path}", f"--output_dir={tmp_path}", "--run_id=skipping"]
    status, out, err = call_command("train", *flags, "--skip_bad_events=1", f"--aux_file={path}", "--aux_iterations=3")
    assert status == 0, err
    assert out.count(message) == 1
    assert out.splitlines()[-2] == "1 of 4 events could not be read, and others took their places"
    record = json.loads((tmp_path / "skipping/checkpoints/step_00000006/manifest.json").read_text())
    assert record["skipped"] == [[str(path), ENTRY]]
    # A resumed run knows them, and without the option the first one stops it.
    status, _, err = call_command("train", *flags[:-1], "--run_id=skipping", "--iterations=12")
    assert f"{path}{HERE}" in one_line(status, err)

    there = [f"--file={path}", f"--output_dir={tmp_path}", "--noxla", "--nohtml"]
    status, out, _ = call_command("evaluate", *there, "--skip_bad_events=1")
    assert status == 0 and message in out and "3 events" in out
    status, _, err = call_command("evaluate", *there)
    assert f"{path}{HERE}" in one_line(status, err, "evaluate")
    reading = [f"--file={path}", "--downsample=0", "--minibatch_size=4", "--read_iterations=2"]
    status, out, _ = call_command("iotest", *reading, "--skip_bad_events=1")
    assert status == 0 and message in out and "8 events in" in out


def test_more_bad_events_than_may_be_skipped(tmp_path):
    path = sound_file(tmp_path / "a.h5")
    for break_it in (FAULTS["NaN"][0], FAULTS["a wrong checksum"][0]):
        break_it(path)
    flags = [*SMALL, *STEPS, f"--file={path}", f"--output_dir={tmp_path}", "--skip_bad_events=1"]
    status, _, err = call_command("train", *flags)
    assert "(--skip_bad_events=1: so many " in one_line(status, err)


def test_a_run_without_an_intact_checkpoint_does_not_begin_anew(tmp_path):
    trained_run(tmp_path)
    state = tmp_path / "test/checkpoints/step_00000001/state.npz"
    state.write_bytes(state.read_bytes()[:-1])
    flags = [*SMALL, f"--file={tmp_path}/sound.h5", f"--output_dir={tmp_path}", "--iterations=2"]
    before = (tmp_path / "test/history.csv").read_bytes()
    status, out, err = call_command("train", *flags)
    assert "no checkpoint in it can be used" in one_line(status, err) and "state.npz is missing, cut" in out
    assert state.exists() and (tmp_path / "test/history.csv").read_bytes() == before


@pytest.mark.slow
def test_events_and_architecture_must_be_those_of_the_run(tmp_path):
    trained_run(tmp_path)
    more = sound_file(tmp_path / "more.h5", entries=5)
    flags = [*SMALL, f"--file={more}", f"--output_dir={tmp_path}", "--iterations=2", "--blocks_final=2"]
    line = one_line(*call_command("train", *flags)[::2])
    assert "events: 4 -> 5" in line and "--blocks_final: 1 -> 2" in line


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_named_in_validation_too(tmp_path):
    path, aux = sound_file(tmp_path / "a.h5"), sound_file(tmp_path / "aux.h5")
    FAULTS["NaN"][0](aux)
    flags = [*SMALL, *STEPS, f"--file={path}", f"--output_dir={tmp_path}", f"--aux_file={aux}", "--aux_iterations=1"]
    status, _, err = call_command("train", *flags, "--aux_iterations_batches=4")
    assert f"{aux}{HERE}" in one_line(status, err)


@pytest.mark.slow
def test_what_the_manifest_says(tmp_path):
    trained_run(tmp_path)
    record = manifest(tmp_path, 1)
    assert record["ranks"] == 1 and record["skipped"] == [] and record["best"] is None
    assert record["config"]["train"]["iterations"] == 1 and record["versions"]["tensorflow"]
    assert record["architecture"]["blocks_final"] == 1


def test_an_unknown_backend_is_one_line():
    done = run_module("evaluate", "--run_id=none", check=False, KERAS_BACKEND="foo")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert lines[0].startswith("cosmictagger_tf.evaluate: KERAS_BACKEND=foo: ")
