"""Command: what the networks cost in time and memory on this machine."""

import sys
from pathlib import Path

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import (
    RUN,
    BenchmarkConfig,
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
)
from cosmictagger_tf.errors import ConfigError

DESCRIPTION = """
Times the network that the flags describe on the first event of --file: forward pass, training step, reading, training
with reading, and peak memory, against what this machine reaches in matrix products and in memory. For a sparse network
also the rulebook and its bare matrix products. Optional: time against active pixels (--sites), and dense networks of
the same options at a smaller size, scaled by pixels (--dense_modes). With --startup instead: what whole commands take
from their start to their first result. In a --flagfile, options of a training that have no meaning here (--iterations
and the like) are ignored.
"""
EXAMPLES = """
python -m cosmictagger_tf.benchmark --flagfile=flags/quick.flags --file=train.h5 --json=quick.json
python -m cosmictagger_tf.benchmark --preset=a21 --synthetic --downsample=2 --noxla --batch_sizes=1,4
python -m cosmictagger_tf.benchmark --preset=sparse --file=train.h5 --downsample=0 --noxla --batch_sizes=1,4 \\
    --sites=10000,30000,60000,120000,240000,600000 --dense_modes=2D,3D
python -m cosmictagger_tf.benchmark --startup --file=train.h5 --against=../older_checkout
"""
GROUPS = (BenchmarkConfig, DataConfig, NetworkConfig, OptimizerConfig, ExecutionConfig)


def main(benchmark, data, network, optimizer, execution) -> None:
    from cosmictagger_tf.benchmarking.machine import describe
    from cosmictagger_tf.benchmarking.network_benchmark import measure
    from cosmictagger_tf.benchmarking.startup import measure_startup
    from cosmictagger_tf.data.dataset import expand
    from cosmictagger_tf.files import make_place, write_json

    if benchmark.json:
        # Before the minutes of measuring, not after.
        make_place(Path(benchmark.json), "json")
    if benchmark.startup:
        if not data.file:
            raise ConfigError("--startup: needs --file, a file of events")
        measured = {"machine": describe(), **measure_startup(expand(data.file, "file")[0], benchmark.against)}
    else:
        measured = measure(benchmark, data, network, optimizer, execution)
    if benchmark.json:
        write_json(Path(benchmark.json), measured)
        print(f"written: {benchmark.json}")


if __name__ == "__main__":
    sys.exit(run_command("benchmark", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN, trains=True))
