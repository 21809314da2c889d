"""The record beside weights: read as written, of these weights alone, refused in one line where it is not."""

import json

import pytest

from cosmictagger_tf.calibration.probabilities import CalibrationError
from cosmictagger_tf.calibration.record import read_calibration, record_place, write_calibration
from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.files import sha256
from cosmictagger_tf.vertex_fit import VertexErrors

ERRORS = VertexErrors((1.0, 2.0, 3.0), (1.5, 2.5, 3.5), (0.1, 0.2, 0.3))
FITTED = Calibration(1.3, 0.9, 0.7, None, WorkingPoint(-0.3), WorkingPoint(-0.1, -1.5, 0.92), ERRORS)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "network.weights.h5"
    path.write_bytes(b"some")
    return path


def test_it_is_read_as_it_was_written(weights):
    assert read_calibration(weights) is None
    assert record_place(weights).name == "network.calibration.json"
    write_calibration(record_place(weights), FITTED, sha256(weights), {"readouts": 3})
    assert read_calibration(weights) == FITTED
    assert json.loads(record_place(weights).read_text())["readouts"] == 3


def test_it_is_of_its_weights_alone(weights):
    write_calibration(record_place(weights), FITTED, sha256(weights), {})
    weights.write_bytes(b"others")
    with pytest.raises(CalibrationError, match=r"network.calibration.json: is of other weights .*calibrate again"):
        read_calibration(weights)


def test_weights_that_are_removed_meanwhile_are_named(weights):
    write_calibration(record_place(weights), FITTED, sha256(weights), {})
    weights.unlink()
    with pytest.raises(CalibrationError, match=r"network.weights.h5: was removed"):
        read_calibration(weights)


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"calibration": {"charge": 1}, "weights_sha256": ""}'])
def test_what_is_no_record_is_refused_by_name(weights, content):
    record_place(weights).write_text(content)
    with pytest.raises(CalibrationError, match=r"network.calibration.json: "):
        read_calibration(weights)
