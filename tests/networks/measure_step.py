"""Measures a training step: seconds and peak memory of presets, compiled by XLA or not. Run by hand, not by pytest.

python -m tests.networks.measure_step --preset=a21 --downsample=2 --steps=3 --noxla
"""

import argparse
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# The flags of this script itself; any other is an option of the network.
OWN = argparse.ArgumentParser(description=__doc__)
OWN.add_argument("--downsample", type=int, default=2)
OWN.add_argument("--minibatch_size", type=int, default=1)
OWN.add_argument("--steps", type=int, default=3, help="steps that are timed, after one that is not")
OWN.add_argument("--noxla", action="store_true")
OWN.add_argument("--precision", default="float32")
OWN.add_argument("--infer", action="store_true", help="the forward pass only")


def main(argv: list[str]) -> None:
    """Prints one line."""
    own, network_flags = OWN.parse_known_args(argv)

    from cosmictagger_tf import execution
    from cosmictagger_tf.benchmarking.clock import peak_memory
    from cosmictagger_tf.benchmarking.network_benchmark import open_bench
    from cosmictagger_tf.cli.flags import parse
    from cosmictagger_tf.config import ExecutionConfig, NetworkConfig, OptimizerConfig
    from cosmictagger_tf.data.batch import make_batch
    from cosmictagger_tf.data.dataset import SyntheticReader
    from cosmictagger_tf.data.transforms import downsample_event

    config = parse(network_flags, (NetworkConfig,)).configs[0]
    settings = ExecutionConfig(xla=not own.noxla, precision=own.precision)
    execution.prepare(settings)
    reader = SyntheticReader()
    events = [downsample_event(reader.read(i), own.downsample) for i in range(own.minibatch_size)]
    bench = open_bench(config, OptimizerConfig(), settings, events[0].shape)
    batch = bench.prepared(make_batch(events, own.minibatch_size, events[0].shape))
    call = bench.forward if own.infer else bench.step
    began = time.perf_counter()
    call(batch, 0)
    first, timing = time.perf_counter() - began, call(batch, own.steps)
    memory = peak_memory() * 1e9 / 2**30
    print(
        f"{' '.join(argv)}: first {first:.1f} s, then {timing.fastest:.2f} s a step ({timing.cpu:.2f} s of CPU time), "
        f"peak {memory:.2f} GiB, {bench.segmenter.network.count_params():,} weights",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
