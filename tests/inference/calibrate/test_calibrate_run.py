"""calibrate: the record, what the other commands make of it, and what is refused."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from cosmictagger_tf.calibration.probabilities import CalibrationError
from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.config import CalibrateConfig, DataConfig, NetworkConfig, OutputConfig, TruthConfig, WeightsConfig
from cosmictagger_tf.data.dataset import open_labelled
from cosmictagger_tf.errors import ConfigError, DataError
from cosmictagger_tf.inference.calibrate.calibrate_run import (
    CalibrationResult,
    fitted,
    place_of,
    training_shares,
    truth_for,
)
from cosmictagger_tf.inference.calibrate.calibration_text import calibration_text
from cosmictagger_tf.inference.calibrate.training_shares import TrainingShares, recorded_shares
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import find_model
from tests.commands import run_module
from tests.data.truth_files import BOXES, truth_file
from tests.inference.calibrate.test_choice import READOUTS, made
from tests.inference.calibrate.test_samples import FourEvents

KINDS = (0.2, 0.5, 0.3)


class Files(FourEvents):
    files = ("events.h5",)


def result_of(samples, prior, **options) -> CalibrationResult:
    shares = prior and TrainingShares(prior, KINDS)
    return fitted(samples, CalibrateConfig(**options), shares, Path("network.weights.h5"), Files())


def test_what_is_fitted_and_chosen():
    result = result_of(made(), 0.6, kept=0.1, kept_by_pixels=0.2)
    calibration = result.calibration
    assert (calibration.training_prior, calibration.training_kinds, calibration.vertex_errors) == (0.6, KINDS, None)
    assert result.event_fit.temperature == calibration.event_temperature != 1
    assert result.pixel_fit.temperature == calibration.pixel_temperature != 1
    assert result.pixels.neutrino_iou + result.pixels.cosmic_iou >= sum(result.pixels[3:])
    kept = calibration.kept(calibration.selection, result.samples.event_logits)
    assert kept[result.samples.cosmic_only].sum() == 3
    text = calibration_text(result)
    assert f"{READOUTS} readouts, 30 with cosmic rays only" in text
    assert re.search(r"probability>0\.\d+: 3\.33% of cosmic rays only", text) and text.count("probability>") == 3
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
    assert recorded_shares(history, 2) == TrainingShares(0.5, (0.25, 0.5, 0.25))
    assert "the training saw 8 readouts of known class, 50.0% with a neutrino" in caplog.messages
    # Of a kind that was never seen nothing can be told.
    assert recorded_shares(history, 1) == TrainingShares(0.75, None)
    # A killed process leaves half a line.
    for half in ("train", "train,2", "train,2,0,0,"):
        history.write_text("\n".join([*lines, half]))
        assert recorded_shares(history, 2) == TrainingShares(0.5, (0.25, 0.5, 0.25))
    history.write_text("\n".join([*lines, "train", ""]))
    assert recorded_shares(history, 2) == TrainingShares(0.5, (0.25, 0.5, 0.25))
    history.write_text("split,step,loss\ntrain,1,0.5\n")
    assert recorded_shares(history, 2) is None
    assert recorded_shares(tmp_path / "none.csv", 2) is None


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
        training_shares(CalibrateConfig(kept=0.02), config, find_model(config))


def test_truth_is_read_as_far_as_the_heads_need_it(tmp_path):
    """A product that is broken stops only who uses it."""
    file = truth_file(tmp_path / "file.h5")
    with h5py.File(file, "a") as content:
        del content[f"{BOXES}/image_meta"]
    data = DataConfig(file=(str(file),))
    neither, event = NetworkConfig(), NetworkConfig(event_head=True)
    assert truth_for(neither, TruthConfig()) is None
    assert open_labelled(data, truth_for(event, TruthConfig())).read(0).truth.neutrinos
    with pytest.raises(DataError, match=r"bbox2d_\w+.*image_meta"):
        open_labelled(data, truth_for(NetworkConfig(vertex_head=True), TruthConfig())).read(0)


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
    with pytest.raises(ConfigError, match="exists already; remove it, or give --overwrite"):
        place_of(CalibrateConfig(), InferenceConfig(where), trained)
    record.write_text("{}")
    with pytest.raises(CalibrationError, match="is no record of a calibration"):
        find_model(InferenceConfig(where))
    run_module("calibrate", *data, *share, "--overwrite", "--minibatch_size=1")
    again = Calibration.from_dict(json.loads(record.read_text())["calibration"])
    assert again.event_temperature == pytest.approx(calibration.event_temperature, rel=1e-3)
    done = run_module(
        "evaluate", *data, f"--report={tmp_path}/a.html", "--bootstrap=20", f"--table={tmp_path}/table.csv"
    )
    evaluation = json.loads((tmp_path / "a.json").read_text())
    assert evaluation["calibration"] == again.to_dict()
    assert set(evaluation["reliability"]) == {"events", "pixels"} and "calibration error of events" in done.stdout
    assert "in the detector, cm" in evaluation["vertex"]["readouts with a vertex"]
    assert "neutrino_iou_where_present" in evaluation["intervals_95"]
    assert "Probabilities are at equal priors" in (tmp_path / "a.html").read_text()
    record.unlink()
