"""The training on Keras's JAX backend, in processes of its own: TensorFlow's steps, and refusals of its own."""

import csv
import importlib.util
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tests.commands import ROOT

if importlib.util.find_spec("jax") is None:
    pytest.skip("jax is not installed: pip install jax", allow_module_level=True)

NETWORK = ("--network_depth=1", "--n_initial_filters=8", "--blocks_per_layer=1", "--blocks_deepest_layer=1")
NETWORK += ("--blocks_final=1", "--bottleneck_deepest=8", "--row_exchange=0")
RUN = ("--synthetic", "--downsample=6", "--minibatch_size=2", "--checkpoint_iteration=2", "--no_summary_images")


def train(backend, folder, run_id, *more, network=NETWORK):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-m", "cosmictagger_tf.train", *network, *RUN, f"--output_dir={folder}"]
    command += [f"--run_id={run_id}", *more]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, cwd=ROOT)


def weights(run, step):
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[...]

    with h5py.File(run / "checkpoints" / f"step_{step:08d}" / "network.weights.h5") as file:
        file.visititems(keep)
    return found


def history(run):
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_steps_are_those_of_tensorflow_and_a_resumed_run_is_the_whole_one(tmp_path):
    first = train("tensorflow", tmp_path, "first", "--iterations=1", "--noxla")
    assert first.returncode == 0, first.stderr
    start = f"--init_from={tmp_path / 'first'}"
    # Muon's steps are Adam's too, where a variable is no kernel.
    same = (start, "--augment", "--optimizer=muon")
    theirs = train("tensorflow", tmp_path, "tensorflow", *same, "--iterations=4", "--noxla")
    whole = train("jax", tmp_path, "whole", *same, "--iterations=4")
    part = train("jax", tmp_path, "part", *same, "--iterations=2")
    rest = train("jax", tmp_path, "part", *same, "--iterations=4")
    for done in (theirs, whole, part, rest):
        assert done.returncode == 0, done.stderr
    assert "resumed from" in rest.stdout and "step=4 of=4" in rest.stdout

    one, other = weights(tmp_path / "whole", 4), weights(tmp_path / "part", 4)
    assert len(one) > 20 and set(one) == set(other)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)

    ours, tensorflows = history(tmp_path / "whole"), history(tmp_path / "tensorflow")
    assert [row["step"] for row in ours] == [row["step"] for row in tensorflows] == ["1", "2", "3", "4"]
    for name, tolerance in (("loss", 1e-3), ("accuracy", 1e-3), ("cosmic_iou", 1e-3), ("learning_rate", 1e-6)):
        mine, its = ([float(row[name]) for row in rows] for rows in (ours, tensorflows))
        np.testing.assert_allclose(mine, its, rtol=tolerance, atol=tolerance, err_msg=name)
    assert [row["step"] for row in history(tmp_path / "part")] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    "flag, said",
    [("--noxla", "--noxla: "), ("--aux_file=x.h5", "--aux_file: "), ("--precision=mixed", "--precision=mixed: ")],
)
def test_what_it_has_not_is_refused_by_name(flag, said, tmp_path):
    done = train("jax", tmp_path, "refused", "--iterations=1", flag)
    assert done.returncode == 2 and said in done.stderr and "KERAS_BACKEND=jax" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_loss_that_is_not_finite_stops_it_and_writes_no_checkpoint(tmp_path):
    done = train("jax", tmp_path, "wild", "--iterations=20", "--learning_rate=1e30", "--optimizer=sgd")
    assert done.returncode == 2 and "is not finite" in done.stderr and "synthetic" in done.stderr
    for step in (tmp_path / "wild" / "checkpoints").glob("step_*"):
        found = weights(tmp_path / "wild", int(step.name.removeprefix("step_")))
        assert all(np.isfinite(values).all() for values in found.values())
