"""The whole walk: train, stop, resume, evaluate, export, draw; each command in its own process."""

import csv
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.commands import ROOT, TINY, checkpoint_arrays, refusal, run_module

SHORT = ["--logging_iteration=2", "--summary_iteration=2", "--checkpoint_iteration=3", "--minibatch_size=2", "--seed=3"]


@pytest.fixture(scope="module")
def trained(three_events, tmp_path_factory):
    """A run of 8 steps without interruption, validated on the way; without XLA, whose compiler takes longer than it."""
    folder = tmp_path_factory.mktemp("walk")
    where = [f"--output_dir={folder}", "--run_id=straight"]
    flags = [*TINY, *SHORT, "--noxla", f"--file={three_events}", f"--aux_file={three_events}", "--aux_iterations=4"]
    flags += ["--lr_schedule=warmup_flat_decay", "--ema_momentum=0.5", "--gradient_accumulation=3", "--clip_norm=10"]
    flags += ["--no_summary_images"]
    done = run_module("train", *flags, *where, "--iterations=8", prepared=False)
    return folder, flags, done


def rows(folder, run):
    with open(folder / run / "history.csv", newline="") as file:
        # The last step of every run, a short one's too, is validated on the whole file.
        lines = [line for line in csv.DictReader(file) if line["split"] != "whole_validation"]
    return [{k: v for k, v in line.items() if k not in ("images_per_second", "waiting")} for line in lines]


def assert_same(one, other):
    assert one.keys() == other.keys() and len(one) > 20
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_training_says_what_it_does_and_leaves_a_run(trained):
    folder, _, done = trained
    assert "validation 4/8" in done.stdout and "images/s" in done.stdout and "left" in done.stdout
    assert done.stdout.splitlines()[-1] == f"result: run={folder}/straight step=8 of=8"
    assert done.stderr == "", "TensorFlow's chatter reached the user"
    record = json.loads((folder / "straight/run.json").read_text())
    assert record["config"]["network"]["n_initial_filters"] == 2 and record["versions"]["tensorflow"]
    assert list((folder / "straight/logs/train").glob("events.*"))
    assert list((folder / "straight/logs/validation").glob("events.*"))
    kept = sorted(p.name for p in (folder / "straight/checkpoints").iterdir())
    assert kept[-1] == "step_00000008" and "best.json" in kept
    best = json.loads((folder / "straight/checkpoints/best.json").read_text())
    with open(folder / "straight/history.csv", newline="") as file:
        whole = [line for line in csv.DictReader(file) if line["split"] == "whole_validation"]
    # Epochs end in the steps 2, 3, 5, 6 and 8.
    assert [line["step"] for line in whole] == ["2", "3", "5", "6", "8"]
    assert max(float(line["mean_iou"]) for line in whole) == pytest.approx(best["mean_iou"])
    assert f"step_{best['step']:08d}" in kept


def test_a_resumed_run_equals_the_straight_one_bit_for_bit(trained):
    folder, flags, _ = trained
    where = [f"--output_dir={folder}", "--run_id=resumed"]
    run_module("train", *flags, *where, "--iterations=4")
    done = run_module("train", *flags, *where, "--iterations=8")
    assert "resumed from" in done.stdout and "step_00000004" in done.stdout
    assert_same(checkpoint_arrays(folder / "straight", 8), checkpoint_arrays(folder / "resumed", 8))
    assert rows(folder, "straight") == rows(folder, "resumed")
    again = run_module("train", *flags, *where, "--iterations=8")
    assert "nothing to do" in again.stdout


@pytest.mark.slow
def test_with_xla_a_resumed_run_equals_the_straight_one_too(three_events, tmp_path):
    flags = [*TINY, *SHORT, "--xla", f"--file={three_events}", f"--output_dir={tmp_path}", "--ema_momentum=0.5"]
    flags += ["--no_summary_images"]
    run_module("train", *flags, "--run_id=straight", "--iterations=6")
    for iterations in (4, 6):
        run_module("train", *flags, "--run_id=resumed", f"--iterations={iterations}")
    assert_same(checkpoint_arrays(tmp_path / "straight", 6), checkpoint_arrays(tmp_path / "resumed", 6))
    assert rows(tmp_path, "straight") == rows(tmp_path, "resumed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.exhaustive),
        # With --all the commands of scripts/faults kill at random instants.
        (signal.SIGKILL, -9),
    ],
)
def test_a_stopped_run_resumes_to_the_same_weights(trained, number, status):
    folder, flags, _ = trained
    where = [f"--output_dir={folder}", f"--run_id=stopped{number}"]
    command = [sys.executable, "-m", "cosmictagger_tf.train", *flags, *where, "--iterations=8"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "train 4/8" in line:
            process.send_signal(number)
            break
    process.stdout.read()
    assert process.wait() == status
    run_module("train", *flags, *where, "--iterations=8")
    assert_same(checkpoint_arrays(folder / "straight", 8), checkpoint_arrays(folder / f"stopped{number}", 8))


def test_a_broken_checkpoint_is_passed_over(trained):
    folder, flags, _ = trained
    where = [f"--output_dir={folder}", "--run_id=broken"]
    run_module("train", *flags, *where, "--iterations=4")
    weights = folder / "broken/checkpoints/step_00000004/network.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = run_module("train", *flags, *where, "--iterations=8")
    assert "skipped: checkpoint" in done.stdout and "step_00000003" in done.stdout
    assert_same(checkpoint_arrays(folder / "straight", 8), checkpoint_arrays(folder / "broken", 8))


def test_what_may_not_change_on_resume_is_refused(trained):
    folder, flags, _ = trained
    where = [f"--output_dir={folder}", "--run_id=straight"]
    line = refusal("train", *flags, *where, "--iterations=9", "--minibatch_size=3", "--blocks_final=2")
    assert "--minibatch_size: 2 -> 3" in line and "--blocks_final: 1 -> 2" in line


def test_evaluate_gives_a_table_that_no_batch_size_changes(trained, three_events):
    folder, _, _ = trained
    where = [f"--output_dir={folder}", "--run_id=straight", f"--file={three_events}"]
    tables, metrics = [], []
    for size in (1, 2, 3):
        tables.append(run_module("evaluate", *where, f"--minibatch_size={size}", "--nohtml").stdout)
        metrics.append(json.loads((folder / "straight/evaluation.json").read_text())["metrics"])
    assert tables[0] == tables[1] == tables[2]
    assert "3 events" in tables[0] and "neutrino_iou" in tables[0]
    for other in metrics[1:]:
        assert other == pytest.approx(metrics[0], abs=1e-6)


def test_evaluate_refuses_another_architecture_and_a_missing_run(trained, three_events):
    folder, _, _ = trained
    where = [f"--output_dir={folder}", f"--file={three_events}"]
    assert "--network_depth=2, but 1" in refusal("evaluate", *where, "--run_id=straight", "--network_depth=2")
    assert "no run is there" in refusal("evaluate", *where, "--run_id=nothing")
    assert "has the steps" in refusal("evaluate", *where, "--run_id=straight", "--checkpoint_step=77")


def test_evaluate_of_the_best_checkpoint_gives_what_validation_saw(trained, three_events):
    folder, _, _ = trained
    where = [f"--output_dir={folder}", f"--file={three_events}", "--run_id=straight"]
    run_module("evaluate", *where, "--checkpoint_step=-2", "--nohtml")
    evaluation = json.loads((folder / "straight/evaluation.json").read_text())
    best = json.loads((folder / "straight/checkpoints/best.json").read_text())
    assert evaluation["step"] == best["step"]
    assert evaluation["metrics"]["mean_iou"] == pytest.approx(best["mean_iou"], abs=1e-6)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The SavedModel of that run."""
    path = tmp_path_factory.mktemp("exported") / "model"
    run_module("export", f"--output_dir={trained[0]}", "--run_id=straight", f"--export_dir={path}")
    return path


def test_the_export_gives_the_scores_that_evaluate_saw(trained, exported, three_events, tmp_path):
    folder, _, _ = trained
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    done = subprocess.run(
        [sys.executable, script, exported, ROOT, three_events, folder],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((exported / "metadata.json").read_text())["classes"] == ["background", "cosmic", "neutrino"]


# Loads the SavedModel before this package can be imported, then compares with the package's own scores.
ALONE = """
import sys
model, root, events, folder = sys.argv[1:]
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(model)
assert not any(name.startswith(("cosmictagger_tf", "keras")) and name in ("cosmictagger_tf",) for name in sys.modules)
sys.path.insert(0, root)
from pathlib import Path
from cosmictagger_tf.config import DataConfig, OutputConfig
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.networks.predictor import Predictor
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import find_model

data = DataConfig(file=(events,))
trained = find_model(InferenceConfig(OutputConfig(folder, "straight"), data=data))
reader = open_reader(trained.data)
event = downsample_event(reader.read(1), trained.data.downsample)
batch = make_batch([event], 1, event.shape)
expected = Predictor(trained.segmenter(reader.shape), xla=True).predict_on_batch(batch)[0]
images = np.stack([p.dense(event.shape.height, event.shape.width) for p in event.image], axis=-1)[None]
def call(name, **inputs):
    outputs = loaded.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})
    return {k: v.numpy() for k, v in outputs.items()}
dense = call("serving_default", images=images)["scores"]
assert dense.shape == (1, *images.shape[1:], 3) and dense.dtype == np.float32
np.testing.assert_allclose(dense[0].transpose(2, 0, 1, 3), expected, atol=1e-5)
np.testing.assert_array_equal(call("flat", images=images)["scores"], dense.reshape(1, -1))
views = call("per_view", **{f"plane{p}": images[..., p : p + 1] for p in range(3)})
for p in range(3):
    np.testing.assert_allclose(views[f"scores{p}"], dense[..., p, :], atol=1e-6)
pixels = call("pixels", coordinates=batch["image_coordinates"], values=batch["image_values"])["scores"]
for p, plane in enumerate(event.image):
    np.testing.assert_allclose(pixels[0, p, : len(plane)], expected[p, plane.rows, plane.columns], atol=1e-5)
assert np.ptp(expected) > 0.01
"""


def test_saved_model_cli_runs_the_export(exported, tmp_path):
    cli = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    chosen = ["--dir", str(exported), "--tag_set", "serve", "--signature_def", "serving_default"]
    np.save(tmp_path / "images.npy", np.zeros((1, 80, 128, 3), np.float32))
    given = ["--inputs", f"images={tmp_path}/images.npy", "--outdir", str(tmp_path)]
    done = subprocess.run([*cli, "run", *chosen, *given], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "scores.npy").shape == (1, 80, 128, 3, 3)


def test_display_draws_truth_and_prediction(trained, three_events, tmp_path):
    folder, _, _ = trained
    where = [f"--file={three_events}", f"--output_dir={folder}", "--run_id=straight", f"--display_dir={tmp_path}"]
    run_module("display", *where, "--entries=0,2")
    for entry in (0, 2):
        assert (tmp_path / f"event_{entry}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "has the entries 0 to 2" in refusal("display", *where, "--entries=3")


def test_impossible_depth_names_the_axis(three_events, tmp_path):
    flags = [f"--file={three_events}", f"--output_dir={tmp_path}", "--iterations=1"]
    assert "height" in refusal("train", *flags, "--downsample=3", "--network_depth=6")


def test_a_missing_file_is_one_line(tmp_path):
    line = refusal("train", "--file=/nowhere.h5", f"--output_dir={tmp_path}", "--iterations=1")
    assert "/nowhere.h5" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "neutrino_iou"), [(80, 0.2), pytest.param(300, 0.5, marks=pytest.mark.exhaustive)], ids=["80", "300"]
)
def test_training_learns(three_events, tmp_path, steps, neutrino_iou):
    # At half of the flagfile's resolution: where TensorFlow has no oneDNN, the whole took a third of CI's hour.
    flags = [f"--file={three_events}", "--flagfile=flags/quick.flags", f"--output_dir={tmp_path}", "--minibatch_size=3"]
    run_module("train", *flags, "--downsample=4", f"--iterations={steps}", timeout=3000)
    with open(tmp_path / "test/history.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert float(lines[-1]["loss"]) < 0.2 * float(lines[0]["loss"])
    assert max(float(line["neutrino_iou"]) for line in lines) > neutrino_iou
