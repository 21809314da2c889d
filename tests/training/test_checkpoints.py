"""Checkpoints are complete or absent, verified when read, and give everything back."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.errors import ReadError
from cosmictagger_tf.files import replaced_file, replaced_folder
from cosmictagger_tf.inference.model_loading import find_checkpoint
from cosmictagger_tf.runs import architecture
from cosmictagger_tf.training.checkpoints.store import NEWEST, CheckpointStore
from cosmictagger_tf.training.checkpoints.weights import CheckpointError, load_weights
from cosmictagger_tf.training.recorders import CsvHistory
from tests.commands import ROOT


def network(units=3):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, name="dense")])


def state(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "optimizer/slot": keras.Variable(rng.normal(size=(2, 3))),
        "optimizer/counts": keras.Variable(rng.integers(0, 2**60, size=(3,)), dtype="int64", trainable=False),
        "metrics/sum": keras.Variable(rng.normal(size=()), dtype="float64", trainable=False),
    }


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    for step in (10, 20, 30):
        store.save(step, network(), state(step), {"note": "x"})
    return store


def test_keeps_the_newest(store):
    assert store.steps() == [20, 30]
    assert store.newest_valid()["step"] == 30
    assert store.verify(20)["note"] == "x"


def test_gives_everything_back_bit_for_bit(tmp_path):
    store = CheckpointStore(tmp_path)
    saved, saved_state = network(), state(1)
    store.save(5, saved, saved_state, {})
    loaded, loaded_state = network(), state(2)
    store.load_network(5, loaded)
    store.load_state(5, loaded_state)
    for a, b in zip(saved.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for name, variable in saved_state.items():
        np.testing.assert_array_equal(variable.numpy(), loaded_state[name].numpy())


def test_the_history_is_on_the_disk_before_the_checkpoint_that_has_it_behind_it(tmp_path, monkeypatch):
    done, history = [], CsvHistory(tmp_path / "history.csv", ["split", "step", "loss"], 0)
    history.write({"split": "train", "step": 5, "loss": 1.0})
    real = os.fsync, os.replace
    named = lambda descriptor: Path(os.readlink(f"/proc/self/fd/{descriptor}")).name  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append(named(descriptor)), real[0](descriptor)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(f"named {Path(b).name}"), real[1](a, b)))
    CheckpointStore(tmp_path / "checkpoints", history=tmp_path / "history.csv").save(5, network(), state(), {})
    assert done.index("history.csv") < done.index("named step_00000005")
    # The files of the checkpoint, too, and the folder that has its name after it has it.
    assert {"network.weights.h5", "state.npz"} <= set(done[: done.index("named step_00000005")])
    assert done[-1] == "checkpoints"
    history.close()


@pytest.mark.parametrize("name", ["network.weights.h5", "state.npz", "manifest.json", None])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_checkpoint_that_the_system_refuses_to_read_is_not_passed_over(store, monkeypatch, name, number):
    """Nothing is known to be wrong with it: whoever resumes from the one before it loses what it holds."""
    refused = store.path(30) / name if name else store.folder

    def refuse(call):
        def wrapped(path, *arguments, **options):
            if str(path) == str(refused):
                raise OSError(number, os.strerror(number), str(path))
            return call(path, *arguments, **options)

        return wrapped

    monkeypatch.setattr(io, "open", refuse(io.open))
    monkeypatch.setattr("builtins.open", refuse(open))
    monkeypatch.setattr(os, "listdir", refuse(os.listdir))
    for use in (store.newest_valid, lambda: find_checkpoint(store, NEWEST), lambda: store.restore(network(), state())):
        with pytest.raises(ReadError, match=f"{refused}: cannot be read: {os.strerror(number)}"):
            use()
    monkeypatch.undo()
    assert store.steps() == [20, 30] and store.verify(30)["step"] == 30


def test_which_is_the_best_is_not_forgotten_where_it_cannot_be_read(store, monkeypatch):
    store.mark_best(20, {"mean_iou": 0.5})
    (store.folder / "best.json").unlink()
    (store.folder / "best.json").mkdir()
    with pytest.raises(ReadError, match=r"best.json: cannot be read: Is a directory"):
        store.best()


def test_steps_of_nine_digits_are_steps(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for step in (99_999_999, 100_000_000, 1_000_000_000):
        store.save(step, network(), state(), {})
    assert store.steps() == [100_000_000, 1_000_000_000]
    assert store.newest_valid()["step"] == 1_000_000_000


def test_weights_that_the_disk_does_not_take_are_one_line(tmp_path):
    """HDF5 crashes, at the latest when the process ends, where it writes to such a disk itself."""
    code = (
        "import resource, keras\n"
        "from cosmictagger_tf.errors import WriteError\n"
        "from cosmictagger_tf.training.checkpoints.store import CheckpointStore\n"
        "network = keras.Sequential([keras.Input((100,)), *(keras.layers.Dense(100) for _ in range(20))])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        f"try: CheckpointStore({str(tmp_path)!r}).save(1, network, {{}}, {{}})\n"
        "except WriteError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "step_00000001: cannot be written: File too large; what was written before is intact" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["network.weights.h5", "state.npz", "manifest.json"])
@pytest.mark.parametrize("harm", ["truncate", "flip", "remove"])
def test_harm_is_noticed_named_and_passed_over(store, caplog, name, harm):
    file = store.path(30) / name
    content = bytearray(file.read_bytes())
    if harm == "remove":
        file.unlink()
    elif harm == "truncate":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    assert store.newest_valid()["step"] == 20
    assert "step_00000030" in caplog.messages[0] and name in caplog.messages[0]
    with pytest.raises(CheckpointError, match=name):
        store.verify(30)


def test_unfinished_folders_are_no_checkpoints(store):
    (store.folder / ".step_00000040.123.part").mkdir()
    (store.folder / "step_40").mkdir()
    assert store.steps() == [20, 30]


def test_an_error_while_writing_leaves_what_was_there(tmp_path):
    target = tmp_path / "step"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError), replaced_folder(target) as beside:
        (beside / "new").touch()
        raise RuntimeError
    assert [p.name for p in target.iterdir()] == ["old"]
    with pytest.raises(RuntimeError), replaced_file(tmp_path / "file") as beside:
        beside.touch()
        raise RuntimeError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step"]


def test_weights_of_another_network_are_refused_in_one_line(store, tmp_path):
    with pytest.raises(CheckpointError) as error:
        load_weights(store.path(30) / "network.weights.h5", network(units=5))
    assert "do not fit" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="no such file"):
        load_weights(tmp_path / "nothing.weights.h5", network())
    (tmp_path / "broken.weights.h5").write_bytes(b"not hdf5")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_weights(tmp_path / "broken.weights.h5", network())


def test_state_of_another_optimizer_is_refused(store):
    slot = {"optimizer/slot": state()["optimizer/slot"]}
    for other in (
        slot,
        state() | {"optimizer/more": slot["optimizer/slot"]},
        {**state(), "optimizer/counts": keras.Variable(0.0)},
    ):
        with pytest.raises(CheckpointError, match="another optimizer"):
            store.load_state(30, other)


def test_metrics_that_a_checkpoint_has_not_begin_anew(store):
    own = state()
    more = {**own, "metrics/sum": keras.Variable(np.full(2, 7.0)), "metrics/more": keras.Variable(5.0)}
    store.load_state(30, more)
    np.testing.assert_array_equal(more["optimizer/slot"].numpy(), state(30)["optimizer/slot"].numpy())
    np.testing.assert_array_equal(more["metrics/sum"].numpy(), 7.0)
    assert float(more["metrics/more"]) == 5.0


def change_manifest(folder, changes):
    file = folder / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format 99 is of another version of cosmictagger_tf, this one reads 1 and 2"),
        ({"step": 31}, "manifest.json is altered: it has step 31"),
        ({"architecture": {"blocks_final": 5, "bias": True}}, r"another architecture \(--blocks_final: 5, not 1\)"),
        ({"sha256": {"../../secret": "0"}}, "network.weights.h5 is missing, cut short or altered"),
        ({"sha256": 5}, "manifest.json is missing or broken"),
    ],
)
def test_another_kind_of_checkpoint_is_named_and_passed_over(tmp_path, caplog, changes, message):
    store = CheckpointStore(tmp_path, architecture={"blocks_final": 1, "bias": True})
    for step in (20, 30):
        store.save(step, network(), state(step), {})
    change_manifest(store.path(30), changes)
    assert store.newest_valid()["step"] == 20
    assert len(caplog.messages) == 1 and "step_00000030" in caplog.messages[0]
    with pytest.raises(CheckpointError, match=f"step_00000030: .*{message}"):
        store.verify(30)
    # Asked for by name, another one would be the wrong answer.
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(store, 30)
    assert find_checkpoint(store, NEWEST)["step"] == 20


def test_an_architecture_with_lists_is_known_again_and_an_older_checkpoint_lacks_younger_options(tmp_path):
    ours = architecture(NetworkConfig(network_depth=2, blocks_by_level=("0", "1")))
    store = CheckpointStore(tmp_path, architecture=ours)
    store.save(10, network(), state(), {})
    assert store.verify(10)["architecture"] == ours
    older = {name: value for name, value in ours.items() if name != "normalise_charge"}
    change_manifest(store.path(10), {"architecture": older})
    assert store.verify(10)["step"] == 10
    younger = CheckpointStore(tmp_path, architecture=ours | {"normalise_charge": True})
    with pytest.raises(CheckpointError, match="--normalise_charge: False, not True"):
        younger.verify(10)
    change_manifest(store.path(10), {"architecture": {**ours, "blocks_by_level": ["0", "2"]}})
    with pytest.raises(CheckpointError, match=r"--blocks_by_level: \['0', '2'\], not \['0', '1'\]"):
        store.verify(10)


def test_what_cannot_be_used_is_set_aside_and_neither_counts_nor_gets_lost(tmp_path):
    store = CheckpointStore(tmp_path, keep=1)
    for step in (20, 40):
        CheckpointStore(tmp_path, keep=9).save(step, network(), state(step), {})
    (store.path(40) / "state.npz").unlink()
    assert [path.name for path in store.set_aside_after(20)] == ["step_00000040.set_aside"]
    store.save(30, network(), state(30), {})
    assert store.steps() == [30], "the broken one counted as the newest"
    assert (tmp_path / "step_00000040.set_aside/network.weights.h5").exists()


def test_a_best_checkpoint_is_known_although_the_process_ended_before_best_json(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(5, network(), state(), {"best": {"mean_iou": 0.5}})
    store.remember_best(store.verify(5))
    assert store.best() == {"step": 5, "mean_iou": 0.5}
    store.save(6, network(), state(), {"best": None})
    store.remember_best(store.verify(6))
    assert store.best()["step"] == 5


def test_a_state_with_pickled_objects_is_refused_unopened(store, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    np.savez(store.path(30) / "state.npz", a=np.array([Bomb()], dtype=object))
    with pytest.raises(CheckpointError, match="holds no plain arrays"):
        store.load_state(30, state())
    assert not (tmp_path / "exploded").exists()


def test_history_survives_a_kill_at_any_line(tmp_path):
    path = tmp_path / "history.csv"
    history = CsvHistory(path, ["split", "step", "loss"], 0)
    for step in range(1, 6):
        history.write({"split": "train", "step": step, "loss": 0.5})
    history.close()
    # The process was killed within a line; and the run resumes from step 4.
    path.write_text(path.read_text() + "train,1")
    again = CsvHistory(path, ["split", "step", "loss"], 4)
    again.write({"split": "train", "step": 5, "loss": 0.25})
    again.close()
    lines = path.read_text().splitlines()
    assert lines == ["split,step,loss", *(f"train,{step},0.5" for step in range(1, 5)), "train,5,0.25"]


def test_the_best_of_a_course_that_was_left_is_forgotten(tmp_path):
    store = CheckpointStore(tmp_path, keep=5)
    for step in (200, 300):
        store.save(step, network(), state(), {})
    store.mark_best(300, {"mean_iou": 0.9})
    (store.path(300) / "state.npz").write_bytes(b"")
    assert store.restore(network(), state())["step"] == 200
    store.save(300, network(), state(), {})
    assert store.best() is None
