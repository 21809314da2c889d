"""Command: how training would scale to many ranks, calculated."""

import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import RUN, DataConfig, DistributedConfig, NetworkConfig, ScalingConfig
from cosmictagger_tf.launch import launched

DESCRIPTION = """
Evaluates a model of the training step of many ranks (docs/scaling.md): bytes that each rank sends, time of the
allreduce against that of computing, and from them the efficiency, for a network, a device and a connection. Nothing is
trained.
"""
EXAMPLES = """
python -m cosmictagger_tf.scaling --preset=polaris --downsample=0 --device_tflops=5 --bandwidth=6.25 --minibatch_size=1
python -m cosmictagger_tf.scaling --step_seconds=0.8 --bandwidth=1 --latency=20 --rank_counts=2,4,8
"""
GROUPS = (ScalingConfig, NetworkConfig, DataConfig, DistributedConfig)


def main(scaling, network, data, distributed) -> None:
    from cosmictagger_tf.benchmarking.scaling_table import scaling_table

    if launched().rank == 0:
        print(scaling_table(scaling, network, data, distributed))


if __name__ == "__main__":
    sys.exit(run_command("scaling", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN))
