"""The nouns of a run, as frozen dataclasses that validate themselves.

Every option stands here once, with its default, its help and its bounds; flags.py turns each field into the
absl flag of the same name. Imports neither TensorFlow nor absl. Where the reference CosmicTagger has the
option, its name is kept (its `run.minibatch_size` is `minibatch_size`).
"""

from cosmictagger_tf.config.base import Config, flag_name, option, with_changes
from cosmictagger_tf.config.benchmarking import BenchmarkConfig, ScalingConfig
from cosmictagger_tf.config.calibration import CalibrateConfig
from cosmictagger_tf.config.data import DataConfig, IoTestConfig, SimulateConfig, SkipConfig, TruthConfig
from cosmictagger_tf.config.execution import DistributedConfig, ExecutionConfig, OutputConfig, RanksConfig
from cosmictagger_tf.config.inference import (
    SHIPPED_WEIGHTS,
    WORKING_POINTS,
    DisplayConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    ReadoutsConfig,
    WeightsConfig,
)
from cosmictagger_tf.config.network import NetworkConfig, check_image_shape
from cosmictagger_tf.config.training import ImportConfig, OptimizerConfig, TrainConfig

# What a run's flagfile, run.flags, has: other commands than train take it too, and pass over what they have no use for.
RUN = (
    OutputConfig,
    DataConfig,
    TruthConfig,
    NetworkConfig,
    OptimizerConfig,
    TrainConfig,
    SkipConfig,
    ExecutionConfig,
    DistributedConfig,
)

__all__ = [
    "RUN",
    "SHIPPED_WEIGHTS",
    "WORKING_POINTS",
    "BenchmarkConfig",
    "CalibrateConfig",
    "Config",
    "DataConfig",
    "DisplayConfig",
    "DistributedConfig",
    "EvaluateConfig",
    "ExecutionConfig",
    "ExportConfig",
    "ImportConfig",
    "IoTestConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "OutputConfig",
    "PredictConfig",
    "RanksConfig",
    "ReadoutsConfig",
    "ScalingConfig",
    "SimulateConfig",
    "SkipConfig",
    "TrainConfig",
    "TruthConfig",
    "WeightsConfig",
    "check_image_shape",
    "flag_name",
    "option",
    "with_changes",
]
