"""The weights that come with the package: present, whole, and as good as the model card says."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cosmictagger_tf import evaluate
from cosmictagger_tf.calibration.record import record_place, write_calibration
from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.config import (
    SHIPPED_WEIGHTS,
    EvaluateConfig,
    NetworkConfig,
    OutputConfig,
    ReadoutsConfig,
    WeightsConfig,
)
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import sha256
from cosmictagger_tf.inference.evaluate.report_place import report_place
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import find_model
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.training.checkpoints import shipped
from cosmictagger_tf.training.checkpoints.weights import CheckpointError
from tests.commands import ROOT, TINY, refusal, run_module


@pytest.mark.parametrize("name", SHIPPED_WEIGHTS)
def test_the_files_are_whole_and_say_nothing_of_where_they_were_made(name):
    model = shipped.ShippedModel(name)
    assert sha256(model.path) == model.record["sha256"] and model.step > 0
    assert model.config(NetworkConfig).conv_mode == "sparse"
    assert "/" not in "".join(model.record["config"]["data"]["file"])
    assert f"--weights={name}" in (ROOT / "docs/model_card.md").read_text()


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match="install the package again"):
        shipped.ShippedModel("sparse_small")
    (tmp_path / "sparse_small.weights.h5").write_bytes(b"other")
    (tmp_path / "sparse_small.json").write_text(json.dumps({"sha256": "0", "step": 1}))
    with pytest.raises(CheckpointError, match="damaged"):
        shipped.ShippedModel("sparse_small")


def test_a_run_has_no_place_beside_them():
    for other in ({"weights_location": "a.weights.h5"}, {"checkpoint_step": 5}):
        with pytest.raises(ConfigError, match="--weights=sparse_small"):
            WeightsConfig(weights="sparse_small", **other)


def test_their_working_point_is_theirs_unless_another_is_given(tmp_path, monkeypatch):
    for file in shipped.FOLDER.glob("sparse_small.*"):
        shutil.copy(file, tmp_path)
    record = json.loads((tmp_path / "sparse_small.json").read_text())
    (tmp_path / "sparse_small.json").write_text(json.dumps(record | {"background_shift": -0.25}))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)

    def shift(**explicit):
        shipped = WeightsConfig(weights="sparse_small", **explicit)
        return find_model(InferenceConfig(weights=shipped, explicit=explicit)).background_shift

    assert shift() == -0.25
    assert shift(background_shift=0.0) == 0.0
    assert shift(background_shift=-1.0) == -1.0


def test_a_calibration_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    for file in shipped.FOLDER.glob("sparse_small.*"):
        shutil.copy(file, tmp_path)
    record = json.loads((tmp_path / "sparse_small.json").read_text())
    (tmp_path / "sparse_small.json").write_text(json.dumps(record | {"calibration": {"charge": 1.0}}))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match=r"--weights=sparse_small: .*sparse_small.json: .*no charge.*newer"):
        shipped.ShippedModel("sparse_small")


def test_how_a_network_computes_is_not_what_it_was_trained_with():
    explicit, weights = {"remat": True, "weight_decay": 0.5}, WeightsConfig(weights="sparse_small")
    network = find_model(InferenceConfig(weights=weights, explicit=explicit)).network
    assert network.remat and network.weight_decay == 0.5 and network.conv_mode == "sparse"


def test_a_working_point_that_weights_have_not_is_refused(tmp_path):
    options = WeightsConfig(weights="sparse_small", working_point="selection")
    with pytest.raises(ConfigError, match=r"--working_point=selection: .*sparse_small.* has no such working point"):
        find_model(InferenceConfig(weights=options))
    # calibrate chooses it; and of what is calibrated it may be the same as the point pixels.
    assert find_model(InferenceConfig(weights=options), calibrated=False).working_point == "selection"
    weights = shutil.copy(shipped.FOLDER / "sparse_small.weights.h5", tmp_path)
    copied = WeightsConfig(weights_location=str(weights), working_point="selection")
    with pytest.raises(ConfigError, match="has no such working point"):
        find_model(InferenceConfig(weights=copied))
    write_calibration(record_place(Path(weights)), Calibration(pixel_temperature=1.1), sha256(Path(weights)), {})
    assert find_model(InferenceConfig(weights=copied)).working_point == "selection"
    both = WeightsConfig(weights="sparse_events", working_point="selection")
    assert find_model(InferenceConfig(weights=both)).point.event_probability


def test_what_is_made_of_other_weights_is_not_put_into_a_runs_folder(tmp_path):
    folder = RunFolder(OutputConfig(str(tmp_path), "mine"))
    folder.prepare()
    where = OutputConfig(str(tmp_path), "mine")
    assert report_place(EvaluateConfig(), where, WeightsConfig()) == folder.path / "evaluation.html"
    (tmp_path / "a.weights.h5").touch()
    for other in ({"weights": "sparse_small"}, {"weights_location": f"{tmp_path}/a.weights.h5"}):
        assert report_place(EvaluateConfig(), where, WeightsConfig(**other)) is None
        assert "--export_dir: give a place" in refusal("export", *(f"--{k}={v}" for k, v in other.items()))


def test_a_run_with_a_penalty_on_its_weights_is_found(tmp_path):
    run_module(
        "train", *TINY, "--synthetic", "--weight_decay=0.001", "--iterations=1", f"--output_dir={tmp_path}", "--noxla"
    )
    model = find_model(InferenceConfig(OutputConfig(str(tmp_path), "test")))
    assert model.step == 1 and model.weights.exists()


@pytest.mark.slow
def test_a_run_is_shipped_and_used(tmp_path, monkeypatch):
    run_module("simulate", f"--output={tmp_path}/a.h5", "--events=4")
    flags = [*TINY, f"--file={tmp_path}/a.h5", f"--output_dir={tmp_path}", "--run_id=tiny", "--noxla"]
    run_module("train", *flags, "--iterations=2")
    folder = RunFolder(OutputConfig(output_dir=str(tmp_path), run_id="tiny"))
    calibration = Calibration(1.5, 0.8, 0.7, None, WorkingPoint(-0.5), WorkingPoint(-0.1, -1.0, 0.9))
    shipped.ship(folder, 2, "sparse_small", calibration, tmp_path / "weights")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    model = shipped.ShippedModel("sparse_small")
    assert model.step == 2 and model.config(NetworkConfig) == folder.config(NetworkConfig)
    assert model.record["config"]["data"]["file"] == ["a.h5"] and model.record["events"] == 4
    assert model.calibration == calibration
    loaded = find_model(InferenceConfig(weights=WeightsConfig(weights="sparse_small")))
    assert loaded.background_shift == calibration.pixels.background_shift == -0.5


@pytest.mark.slow
def test_they_tell_neutrinos_from_cosmic_rays_in_events_they_never_saw_in_bfloat16_too(tmp_path):
    path = tmp_path / "new.h5"
    run_module("simulate", f"--output={path}", "--events=12", "--simulation_seed=77")
    report = ["--report", str(tmp_path / "report.html"), "--nohtml", "--noxla", "--bootstrap=0"]
    there = [f"--file={path}", f"--output_dir={tmp_path}"]
    run_module("evaluate", "--weights=sparse_small", *there, *report)
    evaluation = json.loads((tmp_path / "report.json").read_text())
    assert evaluation["events"] == 12 and evaluation["step"] == shipped.ShippedModel("sparse_small").step
    # Loose bounds: these are few events, docs/model_card.md has many.
    for name, least in (
        ("accuracy", 0.999),
        ("nonbackground_accuracy", 0.85),
        ("cosmic_iou", 0.8),
        ("neutrino_iou", 0.35),
    ):
        assert evaluation["metrics"][name] > least, name
    native = [sys.executable, "-m", "tests.inference.native_bfloat16", "--weights=sparse_small", "--precision=bfloat16"]
    report[1] = str(tmp_path / "bfloat16.html")
    subprocess.run([*native, *there, *report], check=True, cwd=ROOT, capture_output=True)
    half = json.loads((tmp_path / "bfloat16.json").read_text())["metrics"]
    for name in ("accuracy", "nonbackground_accuracy", "cosmic_iou", "neutrino_iou"):
        assert half[name] == pytest.approx(evaluation["metrics"][name], abs=1e-3), name
    assert half["loss"] != evaluation["metrics"]["loss"], "computed in float32"
    wrong = run_module("evaluate", "--weights=sparse_small", "--n_initial_filters=4", *there, *report, check=False)
    assert wrong.returncode == 2 and "--n_initial_filters=4, but 8" in wrong.stderr.splitlines()[-1]


@pytest.mark.slow
def test_sparse_events_tells_readouts_with_a_neutrino_from_those_without(tmp_path):
    path, report = tmp_path / "new.h5", tmp_path / "report.html"
    run_module("simulate", f"--output={path}", "--events=24", "--cosmic_only=0.5", "--simulation_seed=78")
    weights = ["--weights=sparse_events", f"--file={path}"]
    run_module("evaluate", *weights, f"--report={report}", "--nohtml", "--bootstrap=0")
    evaluation = json.loads(report.with_suffix(".json").read_text())
    # Loose bounds: these are few readouts, docs/model_card.md has many.
    for name, least in (
        ("accuracy", 0.999),
        ("nonbackground_accuracy", 0.85),
        ("cosmic_iou", 0.8),
        ("neutrino_iou_where_present", 0.35),
        ("readout_balanced_accuracy", 0.7),
    ):
        assert evaluation["metrics"][name] > least, name
    assert evaluation["vertex"]["readouts with a vertex"]["all planes, cm"]["near"] > 0.5
    run_module("predict", *weights, f"--output={tmp_path}/scored.h5", f"--table={tmp_path}/readouts.csv", "--clean")
    with open(tmp_path / "readouts.csv", newline="") as file:
        called = {line["called_class"] for line in csv.DictReader(file)}
    assert "cosmic_only" in called and len(called) > 1


def test_weights_outside_a_run_are_of_the_run_that_is_named_or_of_what_the_flags_say(run, simulated_file, tmp_path):
    folder = Path(run[0].partition("=")[2]) / "tiny"
    shutil.copy(folder / "checkpoints/step_00000006/network.weights.h5", tmp_path / "copied.weights.h5")
    report = ["--nohtml", "--bootstrap=0", f"--file={simulated_file}"]
    run_module("evaluate", *run, *report, f"--report={tmp_path}/run.html")
    outside = [f"--weights_location={tmp_path}/copied.weights.h5", *report]
    run_module("evaluate", *run, *outside, f"--report={tmp_path}/named.html")
    run_module("evaluate", f"--flagfile={folder}/run.flags", *outside, f"--report={tmp_path}/flags.html")
    one, *others = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("run", "named", "flags"))
    for other in others:
        assert one["confusion"] == other["confusion"] and one["step"] == 6 and other["step"] is None


def test_evaluate_says_that_nothing_is_written(monkeypatch, capsys):
    monkeypatch.setattr("cosmictagger_tf.inference.evaluate.evaluate_run.evaluate_run", lambda *_: object())
    monkeypatch.setattr("cosmictagger_tf.inference.evaluate.report.report_text", lambda evaluation: "the tables")
    evaluate.main(
        {}, EvaluateConfig(), ReadoutsConfig(), OutputConfig(), WeightsConfig(weights="sparse_small"), *6 * [None]
    )
    tables, note = capsys.readouterr().out.splitlines()
    assert tables == "the tables" and note.startswith("nothing is written: ") and "--report=NAME.html" in note
