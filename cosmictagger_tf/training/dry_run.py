"""What a run would be, without training: the network, and what one step takes in memory and computing."""

import re
import time

import keras
import numpy as np
from keras import ops

from cosmictagger_tf.text import counted
from cosmictagger_tf.training.model import SegmentationModel
from cosmictagger_tf.training.step_cost import step_cost

PART = re.compile(r"(level\d+_(?:downsample|upsample|connect|down|up)|initial|deepest|final|logits|event|vertex)")


def network_table(network: keras.Model) -> str:
    """The parts of a UResNet from top to bottom of the U and back: image size, filters, layers, weights."""
    rows: dict[str, list] = {}
    for layer in network.layers:
        part = PART.match(layer.name)
        if not part:
            continue
        shape = tuple(layer.output.shape) if not isinstance(layer.output, (list, tuple)) else ()
        row = rows.setdefault(part[1], ["", 0, 0])
        # Without the events of a batch, where it is no list of sites.
        shape = shape[1:] if len(shape) > 2 or isinstance(layer, keras.layers.Dense) else shape
        row[0] = " x ".join("sites" if n is None else str(n) for n in shape)
        row[1] += 1
        row[2] += layer.count_params()
    lines = [f"{'part':22}{'rows x columns x filters':>26}{'layers':>8}{'weights':>12}"]
    lines += [f"{name:22}{size:>26}{layers:>8}{weights:>12,}" for name, (size, layers, weights) in rows.items()]
    trainable = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    return "\n".join([*lines, f"{network.count_params():,} weights, {trainable:,} of them trained"])


def layer_names(network: keras.Model) -> str:
    """The layers that --freeze can name, those that are frozen marked with a star."""
    names = [f"{layer.name}{'' if layer.trainable else '*'}" for layer in network.layers if layer.weights]
    return "layers (* = frozen): " + ", ".join(names)


def convolution_speed(seconds: float = 0.5) -> float:
    """Floating-point operations a second of a 3x3 convolution of 32 filters on this device, measured."""
    images, layer = ops.ones((4, 128, 128, 32)), keras.layers.Conv2D(32, 3, padding="same", use_bias=False)
    convolve = keras.Sequential([keras.Input(images.shape[1:]), layer])
    convolve.predict_on_batch(images)
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        convolve.predict_on_batch(images)
        runs += 1
    return runs * 2 * 4 * 128 * 128 * 9 * 32 * 32 / (time.perf_counter() - began)


def describe_step(model: SegmentationModel, batch: dict, size: int) -> str:
    """The sentence that --dry_run prints of a step of `size` events."""
    memory, operations = step_cost(model, batch)
    state = sum(int(np.prod(v.shape)) * 4 for v in [*model.network.weights, *model.optimizer.variables])
    speed = convolution_speed()
    return (
        f"a step of {counted(size, 'event')}: at most about {memory / 2**20:,.0f} MiB of activations beside "
        f"{state / 2**20:,.1f} MiB of weights and optimizer; {operations / 1e9:.4g} GFLOP in convolutions, about "
        f"{operations / speed:.2g} s at the {speed / 1e9:.3g} GFLOP/s that a 3x3 convolution reaches here"
    )
