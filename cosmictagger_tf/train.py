"""Command: train a network, or resume a run."""

import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import (
    DataConfig,
    DistributedConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    SkipConfig,
    TrainConfig,
    TruthConfig,
)
from cosmictagger_tf.launch import launched

DESCRIPTION = """
Trains a UResNet on larcv3 files, or, where <output_dir>/<run_id> already holds checkpoints, resumes that run.
Needs --file (or --synthetic), and --iterations or --epochs; all else has a default. Writes checkpoints, history.csv
and TensorBoard logs into that folder. Ctrl-C or SIGTERM finish the step, save, and exit; the same command resumes.
Under `horovodrun -np N` or `mpirun -np N` the N ranks train one network. KERAS_BACKEND=jax or torch trains on Keras's
other backends, one process each. Explained in docs/training.md.
"""
EXAMPLES = """
python -m cosmictagger_tf.train --flagfile=flags/quick.flags --file=train.h5 --run_id=first
python -m cosmictagger_tf.train --preset=a21 --file='train_*.h5' --aux_file=val.h5 --epochs=10 --minibatch_size=4
python -m cosmictagger_tf.train --preset=a21 --file=train.h5 --epochs=10 --dry_run
python -m cosmictagger_tf.train --flagfile=flags/quick.flags --file=new.h5 --init_from=output/first --run_id=tuned
horovodrun -np 4 python -m cosmictagger_tf.train --flagfile=flags/quick.flags --file=train.h5 --minibatch_size=8
"""
GROUPS = (
    OutputConfig,
    DataConfig,
    TruthConfig,
    SkipConfig,
    TrainConfig,
    NetworkConfig,
    OptimizerConfig,
    ExecutionConfig,
    DistributedConfig,
)


def main(chosen, output, data, truth, skip, train, network, optimizer, execution, distributed) -> int | None:
    """Trains; the exit status is 0, or 128 + a signal's number."""
    from cosmictagger_tf.training import trainer
    from cosmictagger_tf.training.run_config import RunConfig

    config = RunConfig(data, network, optimizer, execution, output, train, distributed, skip, truth, chosen)
    if train.dry_run:
        return trainer.describe(config) if launched().rank == 0 else 0
    result = trainer.train(config)
    if result.rank == 0:
        print(f"result: run={output.output_dir}/{output.run_id} step={result.step} of={result.total}")
    return result.exit_status or 0


if __name__ == "__main__":
    sys.exit(run_command("train", main, GROUPS, DESCRIPTION, EXAMPLES, takes="chosen", trains=True))
