"""A run's folder: locked while it trains, compared with what is asked for, cleared up after a killed process."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cosmictagger_tf import files, runs
from cosmictagger_tf.config import DataConfig, NetworkConfig, OptimizerConfig, OutputConfig, TrainConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError, WriteError, system_reason
from cosmictagger_tf.files import replaced_file, replaced_folder, tidy
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.training.run_config import facts_of
from tests.commands import ROOT


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.3)
    made = RunFolder(OutputConfig(str(tmp_path), "run"))
    made.prepare()
    return made


def test_a_second_process_is_refused_and_told_which_has_the_folder(folder):
    with folder.locked(), pytest.raises(ConfigError, match=rf"run: process {os.getpid()} on .* trains in it"):
        folder.locked().__enter__()
    with folder.locked():
        pass


def test_the_lock_survives_no_crash(folder):
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        with folder.locked():
            os.write(go, b"x")
            time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    with pytest.raises(ConfigError, match=f"process {child} on"):
        folder.locked().__enter__()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with folder.locked():
        assert (folder.path / ".lock").read_text().startswith(f"process {os.getpid()} on")


def test_a_file_system_without_locks_is_reported(folder, caplog, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with folder.locked():
        (line,) = caplog.messages
        assert "only one process may use this folder" in line


def sections(**changes):
    data = DataConfig(file=("a.h5",), minibatch_size=changes.pop("minibatch_size", 2))
    network = NetworkConfig(blocks_final=changes.pop("blocks_final", 5), remat=changes.pop("remat", False))
    optimizer = OptimizerConfig(learning_rate=changes.pop("learning_rate", 0.1))
    train = TrainConfig(**{"iterations": 4, **changes})
    return {"data": data, "network": network, "optimizer": optimizer, "train": train}


@pytest.fixture
def begun(folder):
    (folder.checkpoints / "step_00000003").mkdir(parents=True)
    folder.write_record(sections(), {"events": 100, "ranks": 2})
    return folder


def test_what_may_change_is_named(begun):
    facts = {"events": 100, "ranks": 4}
    changed = sections(iterations=9, learning_rate=0.2, logging_iteration=7, remat=True, init_from="x", dry_run=True)
    assert begun.check_resumable(changed, facts) == [
        "--remat: False -> True",
        "--learning_rate: 0.1 -> 0.2",
        "--iterations: 4 -> 9",
        "--logging_iteration: 1 -> 7",
        "ranks: 2 -> 4",
    ]
    assert begun.check_resumable(sections(), {"events": 100, "ranks": 2}) == []


def test_what_may_not_change_is_refused_with_every_difference(begun):
    with pytest.raises(ConfigError) as caught:
        begun.check_resumable(sections(minibatch_size=4, blocks_final=2, iterations=9), {"events": 90, "ranks": 2})
    line = str(caught.value)
    for difference in ("--minibatch_size: 2 -> 4", "--blocks_final: 5 -> 2", "events: 100 -> 90"):
        assert difference in line
    assert "iterations" not in line and "\n" not in line


def test_an_option_that_is_younger_than_the_run_had_its_default(begun):
    record = json.loads(begun.record_file.read_text())
    del record["config"]["network"]["blocks_final"], record["config"]["train"]["logging_iteration"]
    begun.record_file.write_text(json.dumps(record))
    facts = {"events": 100, "ranks": 2}
    assert begun.check_resumable(sections(), facts) == []
    assert begun.check_resumable(sections(logging_iteration=7), facts) == ["--logging_iteration: 1 -> 7"]
    with pytest.raises(ConfigError, match="--blocks_final: 5 -> 2"):
        begun.check_resumable(sections(blocks_final=2), facts)


def test_other_events_of_the_same_number_are_refused(folder, three_events):
    reader = open_reader(DataConfig(file=(str(three_events),)))
    first, other = facts_of(reader, reader), facts_of(open_reader(DataConfig(file=(str(three_events),), first_entry=1)))
    assert first["events_checksum"] == first["validation_checksum"] != other["events_checksum"]
    (folder.checkpoints / "step_00000003").mkdir(parents=True)
    folder.write_record(sections(), first)
    assert folder.check_resumable(sections(), first) == []
    with pytest.raises(ConfigError, match="the events, by their checksum: "):
        folder.check_resumable(sections(), first | {"events_checksum": other["events_checksum"]})
    named = folder.check_resumable(sections(), first | {"validation_checksum": "other"})
    assert named == [f"the events of --aux_file, by their checksum: {first['validation_checksum']} -> other"]
    # An older version recorded no checksum.
    folder.write_record(sections(), {"events": 3, "ranks": 1})
    assert folder.check_resumable(sections(), first) == []


def test_the_images_size_may_not_change(begun):
    begun.write_record(sections(), {"events": 100, "image_shape": [3, 64, 128]})
    assert begun.image_shape == ImageShape(3, 64, 128)
    with pytest.raises(ConfigError, match=re.escape("image_shape: [3, 64, 128] -> [3, 128, 128]")):
        begun.check_resumable(sections(), {"events": 100, "image_shape": [3, 128, 128]})


def test_a_run_that_saved_nothing_binds_nobody(folder):
    folder.write_record(sections(), {"events": 100})
    assert folder.check_resumable(sections(minibatch_size=4), {"events": 90}) == []


@pytest.mark.parametrize("text", ["[]", '{"events": 3}', "{"])
def test_a_record_that_is_none_is_called_broken(folder, text):
    folder.prepare()
    folder.record_file.write_text(text)
    with pytest.raises(ConfigError, match="is broken"):
        folder.config(NetworkConfig)


def test_what_killed_writers_left_is_cleared_up(tmp_path):
    (tmp_path / ".step_00000004.123.part").mkdir()
    (tmp_path / ".step_00000004.123.part/state.npz").touch()
    (tmp_path / ".run.json.77.part").touch()
    # Killed after the old folder was moved away, and before the new one came into its place.
    (tmp_path / ".model.5.old").mkdir()
    (tmp_path / ".model.5.old/saved").touch()
    for name in ("step_00000004.set_aside", ".lock", ".hidden.part"):
        (tmp_path / name).touch()
    tidy(tmp_path, ("run.json",))
    assert not (tmp_path / ".run.json.77.part").exists() and (tmp_path / ".step_00000004.123.part").exists()
    tidy(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".hidden.part", ".lock", "model", "step_00000004.set_aside"]
    assert (tmp_path / "model/saved").exists()


def test_what_others_are_writing_is_left_alone(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / f".model.{os.getpid()}.part").mkdir()
    (tmp_path / f".model.{ended.pid}.part").mkdir()
    (tmp_path / f".model.{ended.pid}.part.keras").touch()
    (tmp_path / f".another.{ended.pid}.part").touch()
    tidy(tmp_path, ("model",), shared=True)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([f".another.{ended.pid}.part", f".model.{os.getpid()}.part"])


def test_what_another_machine_writes_is_left_alone(tmp_path):
    """On a shared file system its processes are not in this machine's table."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    theirs = [f".model.{ended.pid}@node-7.farm.part", f".model.{ended.pid}@node-7.farm.old"]
    for name in (*theirs, f".model.{ended.pid}@{files.HOST}.part"):
        (tmp_path / name).touch()
    tidy(tmp_path, ("model",), shared=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)
    # Whoever has the folder's lock knows that nobody writes there.
    tidy(tmp_path, ("model",))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_without_locks_another_trainings_files_are_left_alone(folder, caplog, monkeypatch):
    folder.checkpoints.mkdir(parents=True)
    theirs = folder.checkpoints / ".step_00000004.123@node-7.part"
    theirs.mkdir()

    def no_locks(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patched:
        patched.setattr(files.fcntl, "flock", no_locks)
        with folder.locked():
            assert theirs.exists()
    assert len(caplog.messages) == 1 and "cannot be locked here (No locks available)" in caplog.messages[0]
    with folder.locked():
        assert not theirs.exists()


@pytest.mark.parametrize("letter", ["a", "é"])
def test_a_name_as_long_as_the_system_takes_is_written_and_cleared_up(tmp_path, letter):
    name = letter * (250 // len(letter.encode())) + ".h5"
    with replaced_file(tmp_path / name) as beside:
        beside.write_text("new")
    with replaced_folder(tmp_path / name[:-3]) as beside:
        (beside / "file").touch()
    assert (tmp_path / name).read_text() == "new"
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = files.hidden_name(tmp_path / name, f"{ended.pid}@{files.HOST}.part")
    left.touch()
    another = files.hidden_name(tmp_path / f"b{name[1:]}", f"{ended.pid}@{files.HOST}.part")
    another.touch()
    tidy(tmp_path, (name,), shared=True)
    assert not left.exists() and another.exists()


@pytest.mark.parametrize("kind", ["folder", "link", "dangling link", "fifo", "socket", "device"])
def test_only_a_file_is_replaced_by_a_file(tmp_path, kind):
    place, other = tmp_path / "place", tmp_path / "other"
    if kind == "folder":
        place.mkdir()
    elif "link" in kind:
        if kind == "link":
            other.write_text("mine")
        place.symlink_to(other)
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(place))
    else:
        place = Path("/dev/null")
    before = place.lstat()
    with pytest.raises(ConfigError, match=f"--output: {place} is a .*; give another name"):
        files.check_output(place, "output", overwrite=True)
    with pytest.raises(ConfigError, match="is a"), replaced_file(place) as beside:
        beside.write_text("new")
    assert (place.lstat().st_ino, place.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert not other.exists() or other.read_text() == "mine"
    if kind != "folder":
        with pytest.raises(ConfigError, match="is a"), replaced_folder(place):
            pass
    assert place.lstat().st_ino == before.st_ino


def test_only_a_file_of_an_output_s_name_needs_overwrite(tmp_path):
    place = tmp_path / "place"
    files.check_output(place, "output", overwrite=False)
    place.touch()
    files.check_output(place, "output")
    with pytest.raises(ConfigError, match=f"--output={place}: exists already"):
        files.check_output(place, "output", overwrite=False)
    with pytest.raises(ConfigError, match=r"--output: cannot write to .*: File name too long"):
        files.check_output(tmp_path / ("d" * 300), "output")


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(WriteError, match="file: cannot be written: No space left on device"), replaced_file(target):
        raise OSError(28, "whatever")
    with pytest.raises(WriteError, match="Read-only file system"), replaced_folder(tmp_path / "folder"):
        raise OSError(30, "whatever")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and target.read_text() == "old"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(122, ""), "Disk quota exceeded"),
        (
            RuntimeError("can't write (file write failed: errno = 28, error message = 'No space')"),
            "No space left on device",
        ),
        (OSError("Can't close file: No space left on device"), "No space left on device"),
        (IsADirectoryError(21, ""), "Is a directory"),
        (NotADirectoryError(20, ""), "Not a directory"),
        (FileNotFoundError(2, "no such file"), None),
        (RuntimeError("anything else"), None),
    ],
)
def test_which_errors_are_the_disks(error, reason):
    assert system_reason(error) == reason


def test_the_commit_is_that_of_this_packages_checkout_alone(tmp_path, monkeypatch):
    assert re.fullmatch("[0-9a-f]{40}", runs.git_commit() or "0" * 40)
    mine = tmp_path / "analysis"
    (mine / "venv/cosmictagger_tf").mkdir(parents=True)
    git = ["git", "-C", str(mine), "-c", "user.name=me", "-c", "user.email=me@here"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "mine"], check=True)
    monkeypatch.setattr(runs, "__file__", str(mine / "venv/cosmictagger_tf/runs.py"))
    assert runs.git_commit() is None
    monkeypatch.setattr(runs, "__file__", str(mine / "venv/runs.py"))
    assert len(runs.git_commit()) == 40


def test_arrays_that_the_disk_does_not_take_leave_nothing_to_complain_later(tmp_path):
    code = (
        "import resource, sys, pathlib, numpy as np\n"
        "from cosmictagger_tf.files import write_arrays\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        f"try: write_arrays(pathlib.Path({str(tmp_path / 'a.npz')!r}), {{'a': np.arange(999), 'b': np.zeros(9)}})\n"
        "except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == (f"{errno.EFBIG}\n", "")
