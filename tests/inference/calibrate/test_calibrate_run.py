"""calibrate: the record, what the other commands make of it, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cosmictagger_tf.calibration.probabilities import CalibrationError
from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.config import CalibrateConfig, OutputConfig, WeightsConfig
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.inference.calibrate.calibrate_run import CalibrationResult, fitted, place_of, training_prior
from cosmictagger_tf.inference.calibrate.calibration_text import calibration_text
from cosmictagger_tf.inference.calibrate.training_prior import recorded_prior
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import find_model
from tests.commands import refusal, run_module
from tests.inference.calibrate.test_choice import READOUTS, made
from tests.inference.calibrate.test_samples import FourEvents


class Files(FourEvents):
    files = ("events.h5",)


def result_of(samples, prior, **options) -> CalibrationResult:
    return fitted(samples, CalibrateConfig(**options), prior, Path("network.weights.h5"), Files())


def test_what_is_fitted_and_chosen():
    result = result_of(made(), 0.6, kept=0.1, kept_by_pixels=0.2)
    calibration = result.calibration
    assert calibration.training_prior == 0.6 and calibration.vertex_errors is None
    assert result.event_fit.temperature == calibration.event_temperature != 1
    assert result.pixel_fit.temperature == calibration.pixel_temperature != 1
    assert result.neutrino_iou >= result.unshifted_iou
    kept = calibration.kept(calibration.selection, result.samples.event_logits)
    assert kept[result.samples.cosmic_only].sum() == 3
    text = calibration_text(result)
    assert f"{READOUTS} readouts, 30 with cosmic rays only" in text
    assert "10.00% of cosmic rays only" in text and "share of the training's readouts with a neutrino 0.600" in text


def test_a_network_without_an_event_head_calibrates_pixels_alone():
    result = result_of(made(event_head=False), None)
    assert result.event_fit is None
    assert result.calibration.event_temperature == 1.0 and result.calibration.training_prior is None
    assert result.calibration.selection.event_probability is None
    assert "temperature of events" not in calibration_text(result)


def test_data_of_one_sort_are_refused_by_name():
    samples = made()
    for classes, lacks in ((np.full(READOUTS, 3), "with"), (np.zeros(READOUTS, int), "without")):
        one_sort = type(samples)(**{**vars(samples), "classes": classes})
        with pytest.raises(CalibrationError, match=f"events.h5: no readout {lacks} a neutrino: .* need both"):
            result_of(one_sort, 0.6)


def test_the_prior_is_what_the_training_counted(tmp_path, caplog):
    history = tmp_path / "history.csv"
    names = [f"event_counts/{true}/nc" for true in ("nue_cc", "numu_cc", "nc", "cosmic_only")]
    lines = [",".join(["split", "step", *names]), "train,1,1,2,0,1", "validation,1,9,9,9,9", "train,2,0,0,1,3"]
    history.write_text("\n".join([*lines, "train,3,50,0,0,0", ""]))
    assert recorded_prior(history, 2) == 0.5
    assert "the training saw 8 readouts of known class, 50.0% with a neutrino" in caplog.messages
    history.write_text("split,step,loss\ntrain,1,0.5\n")
    assert recorded_prior(history, 2) is None
    assert recorded_prior(tmp_path / "none.csv", 2) is None


def test_weights_of_the_package_have_their_record_already(tmp_path):
    config = InferenceConfig(weights=WeightsConfig(weights="sparse_small"))
    trained = find_model(config)
    with pytest.raises(ConfigError, match=r"--output: name a file; --weights=sparse_small"):
        place_of(CalibrateConfig(), config, trained)
    assert place_of(CalibrateConfig(output=f"{tmp_path}/a.json"), config, trained) == tmp_path / "a.json"
    with pytest.raises(ConfigError, match=r"must end in \.json"):
        CalibrateConfig(output="a.txt")


def test_options_of_a_head_that_is_not_there_are_refused():
    config = InferenceConfig(weights=WeightsConfig(weights="sparse_small"), explicit={"kept": 0.02})
    with pytest.raises(ConfigError, match=r"--kept: .*sparse_small.weights.h5 is of a network without --event_head"):
        training_prior(CalibrateConfig(kept=0.02), config, find_model(config))


@pytest.mark.slow
def test_a_run_is_calibrated_and_every_command_takes_its_record(headed_run, mixed_file, tmp_path):
    where = OutputConfig(*(flag.partition("=")[2] for flag in headed_run[:2]))
    before = find_model(InferenceConfig(where))
    data = [*headed_run, f"--file={mixed_file}"]
    share = ["--kept=0.4", "--kept_by_pixels=0.4"]
    done = run_module("calibrate", *data, *share)
    record = before.weights.with_name("network.calibration.json")
    assert f"written: {record}" in done.stdout and "working point selection" in done.stdout
    assert "readouts of known class" in done.stdout + done.stderr
    content = json.loads(record.read_text())
    assert content["validation"]["readouts"] == 8
    calibration = Calibration.from_dict(content["calibration"])
    trained = find_model(InferenceConfig(where))
    assert trained.calibration == calibration and trained.point == calibration.pixels
    explicit = {"background_shift": -0.7}
    other = WeightsConfig(background_shift=-0.7, working_point="selection")
    shifted = find_model(InferenceConfig(where, other, explicit=explicit)).point
    assert shifted == WorkingPoint(-0.7, calibration.selection.neutrino_shift, calibration.selection.event_probability)
    assert "exists already" in refusal("calibrate", *data, *share)
    record.write_text("{}")
    assert "is no record of a calibration" in refusal("evaluate", *data)
    run_module("calibrate", *data, *share, "--overwrite", "--minibatch_size=1")
    again = Calibration.from_dict(json.loads(record.read_text())["calibration"])
    assert again.event_temperature == pytest.approx(calibration.event_temperature, rel=1e-3)
    shutil.copy(record, tmp_path / "kept.json")
    run_module("evaluate", *data, "--nohtml", f"--report={tmp_path}/a.html", "--bootstrap=0")
    assert json.loads((tmp_path / "a.json").read_text())["calibration"] == again.to_dict()
    record.unlink()
