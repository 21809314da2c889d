"""Door: train a network, or go on with a run."""

import sys

from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    TrainConfig,
)
from cosmictagger_tf.doors import open_door

DESCRIPTION = """
Trains a UResNet on larcv3 files, or, where <output_dir>/<run_id> already holds checkpoints, goes on with that run.
Writes checkpoints, history.csv and TensorBoard logs into that folder. Ctrl-C or SIGTERM finish the step, save, and
exit; the same command resumes.
"""
EXAMPLES = """
python -m cosmictagger_tf.train --flagfile=flags/quick.flags --file=train.h5 --run_id=first
python -m cosmictagger_tf.train --preset=a21 --file='train_*.h5' --aux_file=val.h5 --epochs=10 --minibatch_size=4
"""
GROUPS = (OutputConfig, DataConfig, NetworkConfig, OptimizerConfig, TrainConfig, ExecutionConfig)


def main(output, data, network, optimizer, run, settings) -> int:
    """Trains; the exit status is 0, or 128 + a signal's number."""
    from cosmictagger_tf.training.trainer import train

    result = train(data, network, optimizer, settings, output, run)
    print(f"result: run={output.output_dir}/{output.run_id} step={result.step} of={result.total}")
    return result.exit_status or 0


if __name__ == "__main__":
    sys.exit(open_door("train", main, GROUPS, DESCRIPTION, EXAMPLES))
