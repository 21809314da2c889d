"""A trained network and a simulated file, shared by all tests of inference."""

import shutil

import numpy as np
import pytest

from tests.commands import TINY, hdf5_arrays, run_module


@pytest.fixture(scope="session")
def run(simulated_file, made_once, tmp_path_factory):
    """Flags that name a run of a tiny network, trained for a few steps; without XLA, whose compiler takes longer."""
    name = ["--run_id=tiny", "--noxla"]
    options = [*TINY, f"--file={simulated_file}", "--iterations=6", "--minibatch_size=2", "--learning_rate=0.01"]
    trained = made_once("tiny_run", lambda folder: run_module("train", *options, *name, f"--output_dir={folder}"))
    # A copy for each process, because commands write their results beside a run's checkpoints.
    own = shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "own")
    return [f"--output_dir={own}", *name]


def same_content(one, other):
    """Asserts that two HDF5 files hold the same, to the byte."""
    a, b = hdf5_arrays(one), hdf5_arrays(other)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name].tobytes() != b[name].tobytes()] == []


def scores_of(path, entry, producer="neutrino_prediction"):
    """The stored scores of an entry, one PlanePixels a plane."""
    from cosmictagger_tf.data.larcv_h5 import LarcvFile

    file = LarcvFile(str(path), producer, "")
    event = file.read(entry)
    file.close()
    assert all(np.isfinite(plane.values).all() for plane in event.image)
    return event.image


@pytest.fixture(scope="session")
def unlabelled_file(simulated_file, tmp_path_factory):
    """The simulated file without its label product."""
    import h5py

    path = tmp_path_factory.mktemp("unlabelled") / "events.h5"
    shutil.copy(simulated_file, path)
    with h5py.File(path, "a") as file:
        del file["Data/sparse2d_sbnd_cosmicseg_group"]
    return path


@pytest.fixture(scope="session")
def mixed_file(made_once):
    """Eight simulated readouts, some of them without a neutrino."""
    options = ["--events=8", "--simulation_seed=6", "--cosmic_only=0.5"]
    folder = made_once("mixed", lambda folder: run_module("simulate", f"--output={folder}/events.h5", *options))
    return folder / "events.h5"


@pytest.fixture(scope="session")
def headed_run(mixed_file, made_once, tmp_path_factory):
    """Flags that name a run of a tiny network with both heads, trained for a few steps on the mixed file."""
    name = ["--run_id=headed", "--noxla"]
    heads = ["--event_head", "--event_filters=4", "--event_blocks=1", "--vertex_head", "--vertex_filters=4"]
    options = [*TINY, *heads, "--vertex_blocks=1", "--vertex_depth=0", f"--file={mixed_file}", "--iterations=40"]
    options += ["--learning_rate=0.02", "--event_loss_weight=0.3", "--minibatch_size=4"]
    trained = made_once("headed_run", lambda folder: run_module("train", *options, *name, f"--output_dir={folder}"))
    own = shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "headed")
    return [f"--output_dir={own}", *name]
