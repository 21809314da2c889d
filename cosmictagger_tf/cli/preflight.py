"""What is often wrong with a command's inputs, looked at before Keras and its backend take seconds to import."""

from collections.abc import Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from cosmictagger_tf.config import (
    Config,
    DataConfig,
    DisplayConfig,
    EvaluateConfig,
    NetworkConfig,
    OutputConfig,
    ReadoutsConfig,
    TrainConfig,
    WeightsConfig,
)
from cosmictagger_tf.config.backend_limits import refuse_limits
from cosmictagger_tf.environment import chosen_backend
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.launch import launched

AnyConfig = TypeVar("AnyConfig", bound=Config)
# Those of Keras 3; what has no use here is refused, with the reason, where it is used.
KERAS_BACKENDS = ("tensorflow", "jax", "torch", "numpy", "openvino")
# Files that are opened; of a set of thousands the others are read when it is.
OPENED = 4


def check_inputs(configs: Iterable[Config]):
    """Raises what the command would raise later for a file, a run, weights or a package that is not there, or for a
    table that would take another file's place.

    Args:
        configs: all of the command.

    Raises:
        UserError: see there; or Keras has no such backend as KERAS_BACKEND names, or that one has not an option.
        ModuleNotFoundError: that backend is not installed.
    """
    backend = chosen_backend()
    if backend not in KERAS_BACKENDS:
        raise ConfigError(f"KERAS_BACKEND={backend}: Keras has no such backend; take tensorflow, jax or torch")
    if backend in ("jax", "torch") and find_spec(backend) is None:
        raise ModuleNotFoundError(name=backend)
    configs = tuple(configs)
    data, train = _of(DataConfig, configs), _of(TrainConfig, configs)
    if train is not None:
        refuse_limits(backend, configs, launched())
    if data is not None and data.file and not data.synthetic:
        _check_files(data)
        if train is not None and train.aux_file:
            _check_files(replace(data, file=train.aux_file), "aux_file")
    weights, output, display = _of(WeightsConfig, configs), _of(OutputConfig, configs), _of(DisplayConfig, configs)
    if weights is not None and output is not None and (display is None or display.predict):
        _check_weights(weights, output)
        readouts = _of(ReadoutsConfig, configs)
        if readouts is not None and readouts.table:
            _check_table(readouts.table, _of(EvaluateConfig, configs), output, weights)


def _of(kind: type[AnyConfig], configs: tuple[Config, ...]) -> AnyConfig | None:
    return next((config for config in configs if isinstance(config, kind)), None)


def _check_files(data: DataConfig, flag: str = "file"):
    from cosmictagger_tf.data.dataset import expand, open_reader

    files = expand(data.file, flag)[:OPENED]
    # Whether there are that many entries is known once all are open.
    open_reader(replace(data, file=files, first_entry=0, max_entries=0)).close()


def _check_weights(weights: WeightsConfig, output: OutputConfig):
    from cosmictagger_tf.runs import RunFolder

    if weights.of_run:
        RunFolder(output).config(NetworkConfig)
    elif weights.weights_location and not Path(weights.weights_location).exists():
        raise ConfigError(f"weights {weights.weights_location}: no such file")


def _check_table(table: str, evaluate: EvaluateConfig | None, output: OutputConfig, weights: WeightsConfig):
    from cosmictagger_tf.inference.evaluate.report_place import report_files
    from cosmictagger_tf.inference.table_file import check_table

    check_table(table, report_files(evaluate, output, weights) if evaluate is not None else ())
