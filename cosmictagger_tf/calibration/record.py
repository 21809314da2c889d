"""The file in which the calibration of weights is stored: a JSON record beside them, of these weights alone."""

from pathlib import Path
from typing import Any

from cosmictagger_tf.calibration.probabilities import CalibrationError
from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.files import read_json, sha256, write_json

WEIGHTS_ENDING = ".weights.h5"


def record_place(weights: Path) -> Path:
    """Where the record of a file of weights is: network.weights.h5 has network.calibration.json."""
    return weights.with_name(weights.name.removesuffix(WEIGHTS_ENDING) + ".calibration.json")


def write_calibration(path: Path, calibration: Calibration, checksum: str, more: dict[str, Any]):
    """Writes a record that is complete or absent.

    Args:
        path: of the record.
        calibration: of the weights.
        checksum: SHA-256 of the weights, so that no others are used with it.
        more: what else the record tells, JSON values.
    """
    write_json(path, {"calibration": calibration.to_dict(), "weights_sha256": checksum, **more})


def read_calibration(weights: Path) -> Calibration | None:
    """The calibration that lies beside a file of weights; None where there is none.

    Raises:
        CalibrationError: it is broken, of a newer version, or of other weights.
    """
    path = record_place(weights)
    try:
        record = read_json(path)
        calibration, checksum = Calibration.from_dict(record["calibration"]), record["weights_sha256"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        raise CalibrationError(f"{path}: is no record of a calibration: remove it, or calibrate again") from None
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from None
    try:
        same = checksum == sha256(weights)
    except FileNotFoundError:
        raise CalibrationError(f"{weights}: was removed while it was read") from None
    if not same:
        raise CalibrationError(f"{path}: is of other weights than {weights.name}: remove it, or calibrate again")
    return calibration
