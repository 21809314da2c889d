"""Exports a run's network, in float32 whatever its training precision."""

import zipfile
from dataclasses import replace
from pathlib import Path

import keras

from cosmictagger_tf import execution
from cosmictagger_tf.config import ExportConfig
from cosmictagger_tf.config.quoting import readable
from cosmictagger_tf.data.augmentation import knows_cathode
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import make_folder, replaced_file, tidy
from cosmictagger_tf.inference.export.saved_model import EVENTS, GEOMETRY, export_saved_model
from cosmictagger_tf.inference.export.served_network import ServedNetwork
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import find_model
from cosmictagger_tf.runs import RunFolder

DEFAULT_NAMES = {"saved_model": "saved_model", "keras": "model.keras"}


def export_run(export: ExportConfig, config: InferenceConfig) -> Path:
    """Exports; returns the folder or file.

    Raises:
        UserError: no such run, weights that do not fit, another Keras backend than TensorFlow's.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()}: export needs the TensorFlow backend: unset it")
    execution.prepare(replace(config.execution, precision="float32"))
    if not export.export_dir and not config.weights.of_run:
        raise ConfigError("--export_dir: give a place; these weights are of no run, in whose folder the model would be")
    default = RunFolder(config.output).path / DEFAULT_NAMES[export.export_format]
    path = Path(export.export_dir) if export.export_dir else default
    check_place(path, export.export_format)
    trained = find_model(config)
    if export.export_default == EVENTS and not trained.network.has_heads:
        raise ConfigError(
            f"--export_default={EVENTS}: {trained.weights} is a network without --event_head and --vertex_head: "
            "choose another signature"
        )
    shape = open_reader(trained.data).shape if config.data.file or config.data.synthetic else trained.image_shape
    if shape is None:
        raise ConfigError(f"--file: give a file of the images that the model is for: {trained.weights} has no size")
    segmenter = trained.segmenter(shape)
    make_folder(path.parent, "export_dir")
    # What an export that was killed left beside it.
    tidy(path.parent, (path.name,), shared=True)
    if export.export_format == "keras":
        with replaced_file(path, ending=".keras") as beside:
            segmenter.network.save(beside)
        return path
    downsample = trained.data.downsample
    inside = downsample if export.export_preprocessing else 0
    calibration = trained.calibration
    served = ServedNetwork(segmenter, inside, export.export_default, calibration.event_temperature)
    record = {
        "network": trained.network.to_dict(),
        "downsample": downsample,
        "step": trained.step,
        "working_point": trained.working_point,
        "background_shift": trained.background_shift,
        "calibration": calibration.to_dict(),
    }
    if knows_cathode(shape):
        record["geometry"] = GEOMETRY
    export_saved_model(served, path, record)
    return path


def check_place(path: Path, export_format: str):
    """Raises ConfigError where an export would take the place of something else than an export, or cannot be loaded."""
    if not path.name:
        raise ConfigError(f"--export_dir={path}: give a folder of its own, such as {path / 'model'}")
    if path.is_symlink():
        raise ConfigError(f"--export_dir={path}: is a symbolic link, which is not replaced; give another name")
    if export_format == "keras":
        if path.is_dir():
            raise ConfigError(f"--export_dir={path}: is a folder, and --export_format=keras makes a file")
        if path.suffix != ".keras":
            raise ConfigError(f"--export_dir={path}: --export_format=keras makes a file whose name ends in .keras")
        replaceable = _is_keras_file(path)
    elif any(letter in str(path) for letter in "*?[\\"):
        raise ConfigError(f"--export_dir={path}: TensorFlow loads no model from a path with * ? [ or \\ in it")
    elif readable(str(path)) != str(path):
        raise ConfigError(f"--export_dir={path}: TensorFlow needs a name in UTF-8, and a locale that has it")
    else:
        replaceable = (path / "saved_model.pb").exists() or (path.is_dir() and not any(path.iterdir()))
    if path.exists() and not replaceable:
        raise ConfigError(f"--export_dir={path}: exists, and is no exported model; give another name")


def _is_keras_file(path):
    # An archive with these in it.
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {"config.json", "metadata.json"} <= set(archive.namelist())
