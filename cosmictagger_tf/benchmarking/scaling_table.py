"""The table that the scaling model gives for a network."""

import numpy as np

from cosmictagger_tf.benchmarking.scaling_model import Machine, bytes_sent, model_step
from cosmictagger_tf.config import DataConfig, DistributedConfig, NetworkConfig, ScalingConfig, check_image_shape
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.dataset import SyntheticReader
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.model import SegmentationModel
from cosmictagger_tf.training.step_cost import step_cost


def scaling_table(
    scaling: ScalingConfig, network: NetworkConfig, data: DataConfig, distributed: DistributedConfig
) -> str:
    """The table, a line for each number of ranks.

    Args:
        scaling: device and connection; where it has no step_seconds, the network's convolutions are counted.
        network: the architecture.
        data: downsample, and minibatch_size, here of each rank.
        distributed: gradient_compression.

    Raises:
        ConfigError: the network does not fit SBND's images.
    """
    reader = SyntheticReader()
    check_image_shape(reader.shape, data.downsample, network.network_depth)
    model = SegmentationModel(build_segmenter(network, reader.shape.downsampled(data.downsample)), "light")
    weights = sum(int(np.prod(v.shape)) for v in model.network.trainable_variables)
    lines = [f"{weights:,} trained weights"]
    compute = scaling.step_seconds
    if not compute:
        operations = data.minibatch_size * operations_of_one_event(model, reader, data)
        compute = operations / (scaling.device_tflops * 1e12)
        lines.append(
            f"{operations / 1e12:.3g} TFLOP in convolutions a step of {counted(data.minibatch_size, 'event')} a rank, "
            f"{compute:.3g} s at {scaling.device_tflops:g} TFLOP/s"
        )
    machine = Machine(scaling.bandwidth * 1e9, scaling.latency * 1e-6, scaling.spread, scaling.allreduce)
    lines.append(f"{'ranks':>6}{'MB sent':>10}{'compute s':>11}{'waiting s':>11}{'exchange s':>12}{'efficiency':>12}")
    for ranks in map(int, scaling.rank_counts):
        step = model_step(machine, compute, weights, ranks, distributed.gradient_compression)
        sent = bytes_sent(weights, ranks, distributed.gradient_compression) / 1e6
        lines.append(
            f"{ranks:>6}{sent:>10.1f}{step.compute:>11.4g}{step.waiting:>11.4g}{step.exchange:>12.4g}"
            f"{step.efficiency:>12.1%}"
        )
    return "\n".join(lines)


def operations_of_one_event(model: SegmentationModel, reader: SyntheticReader, data: DataConfig) -> int:
    """Floating-point operations in the convolutions of a training step, per event."""
    event = downsample_event(reader.read(0), data.downsample)
    batch = make_batch([event], 1, event.shape, truth=model.events is not None)
    prepare = model.segmenter.prepare
    return step_cost(model, {k: np.asarray(v) for k, v in (prepare(batch) if prepare else batch).items()})[1]
