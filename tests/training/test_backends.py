"""Training on Keras's backends, in processes of their own: the same losses, resumed runs, records, and refusals."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.training.checkpoints.store import CheckpointStore
from tests.commands import ROOT, checkpoint_arrays, run_module
from tests.training.backend_worker import SMALL, run_config
from tests.training.rounding import losses_and_rounding

BACKENDS = ["tensorflow", *(name for name in ("jax", "torch") if importlib.util.find_spec(name))]
OTHERS = pytest.mark.parametrize("backend", ["jax", "torch"])
MODES = {"2D": {}, "3D": {"conv_mode": "3D"}, "sparse": {"conv_mode": "sparse", "row_exchange": ["0"]}}


def train(backend: str, folder, *jobs: dict, check=True):
    """Trains jobs (see backend_worker) in another process."""
    command = [sys.executable, "-m", "tests.training.backend_worker", str(folder), *map(json.dumps, jobs)]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, cwd=ROOT)
    assert done.returncode == 0 or not check, done.stderr
    return done


def history(run) -> list[dict]:
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def needs(backend):
    if backend not in BACKENDS:
        pytest.skip(f"{backend} is not installed")


# The relative error of weights that shows what rounding makes of a training, in how many trainings, and the multiple of
# it that another backend may differ by.
ROUNDING, TRIALS, TIMES = 1e-6, 8, 2


@pytest.mark.slow
def test_losses_of_the_backends_agree_over_20_steps(tmp_path):
    """No backend's loss differs from TensorFlow's by more than 1e-6 and TIMES what rounding has made of this by then.

    Relative errors of 1e-7 in the weights change a loss by 2e-7 until something turns at once (a sign before a ReLU,
    say); from there on it grows to 1e-4 and more. At which step is chance: one in 24 of such trainings came to 3 times
    what the others of its eight allowed. So ROUNDING is ten times that, which turns things earlier: of twice what it
    makes, these 24 reached 0.7, PyTorch and JAX 0.2.
    """
    plain = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.002, "iterations": 20, "checkpoint_iteration": 20}
    jobs, expected, allowed = [], {}, {}
    for mode, options in MODES.items():
        job = {**plain, **options, "run_id": mode, "init_from": str(tmp_path / f"{mode}.weights.h5")}
        config = run_config(str(tmp_path), {**job, "init_from": ""})
        assert isinstance(config.network, NetworkConfig)
        keras.utils.set_random_seed(1)
        network = build_network(config.network, ImageShape().downsampled(SMALL["downsample"]))
        network.save_weights(job["init_from"])
        expected[mode], rounding = losses_and_rounding(config, network.get_weights(), ROUNDING, TRIALS)
        assert len(rounding) == 20 and expected[mode][-1] < expected[mode][0]
        allowed[mode] = 1e-6 + TIMES * rounding
        jobs.append(job)
    for backend in BACKENDS[1:]:
        train(backend, tmp_path / backend, *jobs)
        for mode in MODES:
            losses = np.array([float(row["loss"]) for row in history(tmp_path / backend / mode)])
            of_allowed = np.abs(losses / expected[mode] - 1) / allowed[mode]
            assert of_allowed.max() <= 1, f"{backend}, {mode}, of what is allowed: {of_allowed}"


EVERYTHING = {
    "ema_momentum": 0.9,
    "gradient_accumulation": 2,
    "clip_norm": 1.0,
    "augment": True,
    "logging_iteration": 2,
    "summary_iteration": 2,
    "precision": "bfloat16",
}


@pytest.mark.slow
@OTHERS
@pytest.mark.parametrize("mode", ["2D", pytest.param("sparse", marks=pytest.mark.exhaustive)])
def test_a_resumed_run_is_the_whole_one_bit_for_bit(tmp_path, simulated_file, backend, mode):
    needs(backend)
    data = {"synthetic": False, "file": [str(simulated_file)], "aux_file": [str(simulated_file)], "aux_epochs": 0.4}
    data |= {"aux_iterations": 2, "aux_iterations_batches": 1, "no_summary_images": False, "summary_image_iteration": 2}
    options = {**MODES[mode], **EVERYTHING, **data}
    whole, part = ({**options, "run_id": name, "iterations": 4} for name in ("whole", "part"))
    train(backend, tmp_path, whole, {**part, "iterations": 2})
    done = train(backend, tmp_path, part)
    assert "resumed from" in done.stdout
    one, other = checkpoint_arrays(tmp_path / "whole", 4), checkpoint_arrays(tmp_path / "part", 4)
    assert len(one) > 20 and set(one) == set(other)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)
    rows = [history(tmp_path / name) for name in ("whole", "part")]
    for row in [*rows[0], *rows[1]]:
        for clock in ("images_per_second", "waiting", "exchanging"):
            del row[clock]
    assert rows[0] == rows[1] and {row["split"] for row in rows[0]} == {"train", "validation", "whole_validation"}
    assert json.loads((tmp_path / "whole/checkpoints/best.json").read_text())["mean_iou"] > 0
    shown = {"scalars": 0, "images": 0}
    for split in ("train", "validation", "whole_validation"):
        events = EventAccumulator(str(tmp_path / "whole/logs" / split), size_guidance={"tensors": 0})
        tags = events.Reload().Tags()["tensors"]
        shown["scalars"] += sum("loss" in tag for tag in tags)
        shown["images"] += sum("prediction" in tag for tag in tags)
    assert shown == {"scalars": 3, "images": 3}


@pytest.mark.slow
@OTHERS
def test_a_run_of_one_backend_is_used_and_resumed_on_another(tmp_path, simulated_file, backend):
    needs(backend)
    run = {"run_id": "run", "synthetic": False, "file": [str(simulated_file)], "iterations": 2}
    train(backend, tmp_path, run)
    where = [
        f"--output_dir={tmp_path}",
        "--run_id=run",
        f"--file={simulated_file}",
        "--compute_mode=CPU",
        "--bootstrap=0",
    ]
    metrics = {}
    for other in (backend, "tensorflow"):
        report = f"--report={tmp_path}/{other}.html"
        run_module("evaluate", *where, report, "--nohtml", KERAS_BACKEND=other)
        metrics[other] = json.loads((tmp_path / f"{other}.json").read_text())["metrics"]
    assert metrics[backend] == pytest.approx(metrics["tensorflow"], abs=1e-3)
    done = train("tensorflow", tmp_path, {**run, "iterations": 4})
    assert f"KERAS_BACKEND: {backend} -> tensorflow" in done.stdout and "resumed from" in done.stdout
    assert [row["step"] for row in history(tmp_path / "run")] == ["1", "2", "3", "4"]


@pytest.mark.slow
@OTHERS
@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed", marks=pytest.mark.exhaustive)])
def test_a_number_that_is_not_finite_stops_the_training(tmp_path, backend, precision):
    needs(backend)
    wild = {"run_id": "wild", "iterations": 20, "learning_rate": 1e30, "optimizer": "sgd", "precision": precision}
    done = train(backend, tmp_path, wild, check=False)
    assert done.returncode and "is not finite, of the events (synthetic), entry" in done.stderr
    for step in CheckpointStore(tmp_path / "wild/checkpoints").steps():
        assert all(np.isfinite(values).all() for values in checkpoint_arrays(tmp_path / "wild", step).values())
