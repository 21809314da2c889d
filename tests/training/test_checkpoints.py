"""Checkpoints are complete or absent, verified when read, and give everything back."""

import keras
import numpy as np
import pytest

from cosmictagger_tf.files import replaced_file, replaced_folder
from cosmictagger_tf.training.checkpoints import CheckpointError, CheckpointStore, load_weights


def network(units=3):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])


def state(seed=0):
    rng = np.random.default_rng(seed)
    return [
        keras.Variable(rng.normal(size=(2, 3)), name="slot"),
        keras.Variable(rng.integers(0, 2**60, size=(3,)), dtype="int64", name="counts", trainable=False),
        keras.Variable(rng.normal(size=()), dtype="float64", name="sum", trainable=False),
    ]


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
    for a, b in zip(saved.weights + saved_state, loaded.weights + loaded_state, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("name", ["network.weights.h5", "state.npz", "manifest.json"])
@pytest.mark.parametrize("harm", ["truncate", "flip", "remove"])
def test_harm_is_noticed_named_and_passed_over(store, name, harm):
    file = store.path(30) / name
    content = bytearray(file.read_bytes())
    if harm == "remove":
        file.unlink()
    elif harm == "truncate":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    said = []
    assert store.newest_valid(said.append)["step"] == 20
    assert "step_00000030" in said[0] and name in said[0]
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
    with pytest.raises(CheckpointError, match="do not fit"):
        load_weights(tmp_path / "broken.weights.h5", network())


def test_state_of_another_optimizer_is_refused(store):
    with pytest.raises(CheckpointError, match="another optimizer"):
        store.load_state(30, state()[:2])
