"""Trains small networks on the Keras backend of this process: `python -m tests.training.backend_worker FOLDER JOB...`.

A JOB is a JSON object: "run_id", and options by their config's field names.
"""

import json
import sys
from dataclasses import fields

from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    TrainConfig,
)
from cosmictagger_tf.console import log_lines

SMALL = {
    "n_initial_filters": 4,
    "network_depth": 1,
    "blocks_per_layer": 1,
    "blocks_deepest_layer": 1,
    "blocks_final": 1,
    "bottleneck_deepest": 4,
    "filter_size_deepest": 3,
    "downsample": 6,
    "minibatch_size": 2,
    "synthetic": True,
    "checkpoint_iteration": 2,
    "no_summary_images": True,
    "compute_mode": "CPU",
}


def run_config(folder: str, job: dict):
    """The RunConfig of a job."""
    from cosmictagger_tf.training.run_config import RunConfig

    options = {**SMALL, "output_dir": folder, **job}
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    kinds = (DataConfig, NetworkConfig, OptimizerConfig, ExecutionConfig, OutputConfig, TrainConfig)
    named = [{name: options.pop(name) for name in [f.name for f in fields(kind)] if name in options} for kind in kinds]
    assert not options, options
    return RunConfig(*(kind(**values) for kind, values in zip(kinds, named, strict=True)))


def main(folder: str, *jobs: str):
    """Trains each job in turn; prints what training logs."""
    from cosmictagger_tf.training.trainer import train

    with log_lines(0):
        for job in jobs:
            train(run_config(folder, json.loads(job)))


if __name__ == "__main__":
    main(*sys.argv[1:])
