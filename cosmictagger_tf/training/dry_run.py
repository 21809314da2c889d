"""What a run would be, without training: the network, and what one step takes in memory and computing."""

import re
import time

import keras
import numpy as np
import tensorflow as tf

from cosmictagger_tf.text import counted
from cosmictagger_tf.training.model import SegmentationModel

PART = re.compile(r"(level\d+_(?:downsample|upsample|connect|down|up)|initial|deepest|final|logits)")
CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative")


def network_table(network: keras.Model) -> str:
    """The parts of a UResNet from top to bottom of the U and back: image size, filters, layers, weights."""
    rows: dict[str, list] = {}
    for layer in network.layers:
        found = PART.match(layer.name)
        if not found:
            continue
        shape = tuple(layer.output.shape) if not isinstance(layer.output, (list, tuple)) else ()
        row = rows.setdefault(found[1], ["", 0, 0])
        row[0] = " x ".join("sites" if n is None else str(n) for n in (shape[1:] if len(shape) > 2 else shape))
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


def step_cost(model: SegmentationModel, batch: dict) -> tuple[int, int]:
    """What a training step on a Batch takes.

    The step is traced, not run. Memory is that of all tensors that the forward pass leaves to the backward pass; a
    compiler that fuses operations needs less. Operations are those of convolutions and matrix products, a
    multiplication and an addition counting as two.

    Args:
        model: compiled.
        batch: prepared; its shapes are what counts.

    Returns:
        Bytes of activations, and floating-point operations.
    """
    variables = model.network.trainable_weights
    forward: list[tf.Operation] = []

    def step(data):
        with tf.GradientTape() as tape:
            loss, _ = model.loss_and_segmentation(data, training=True)
        forward.extend(tf.compat.v1.get_default_graph().get_operations())
        return tape.gradient(loss, variables)

    specification = {name: tf.TensorSpec(array.shape, array.dtype) for name, array in batch.items()}
    graph = tf.function(step, autograph=False).get_concrete_function(specification).graph
    before = {operation.name for operation in forward}
    fixed = {"ReadVariableOp", "Const", "Placeholder"}
    kept = {
        tensor.name: tensor
        for operation in graph.get_operations()
        if operation.name not in before
        for tensor in operation.inputs
        if tensor.op.name in before and tensor.op.type not in fixed
    }
    memory = sum(_elements(tensor.shape) * tensor.dtype.size for tensor in kept.values() if tensor.dtype.size)
    return memory, sum(_operations(operation) for operation in graph.get_operations())


def _elements(shape) -> int:
    return int(np.prod([n or 1 for n in shape.as_list()])) if shape.rank is not None else 0


def _operations(operation) -> int:
    kind = operation.type
    if kind in CONVOLUTIONS:
        kernel, places = operation.inputs[1].shape, operation.outputs[0].shape
    elif kind.endswith("BackpropInput") or kind == "Conv3DBackpropInputV2":
        kernel, places = operation.inputs[1].shape, operation.inputs[2].shape
    elif kind.endswith(("BackpropFilter", "BackpropFilterV2")):
        kernel, places = operation.outputs[0].shape, operation.inputs[2].shape
    elif kind in ("MatMul", "BatchMatMulV2"):
        inner = operation.inputs[0].shape[-2 if operation.get_attr(_transposed(kind)) else -1] or 1
        return 2 * inner * _elements(operation.outputs[0].shape)
    else:
        return 0
    # Each place of the output takes the whole kernel once for each of its filters, the kernel's last axis.
    filters = kernel[-1] or 1
    channels_last = (operation.get_attr("data_format") or b"NHWC").decode().endswith("C")
    sizes = places.as_list()
    spatial = [sizes[0] or 1, *(n or 1 for n in (sizes[1:-1] if channels_last else sizes[2:]))]
    return 2 * int(np.prod(spatial)) * _elements(kernel) // filters * filters


def _transposed(kind):
    return "transpose_a" if kind == "MatMul" else "adj_x"


def convolution_speed(seconds: float = 0.5) -> float:
    """Floating-point operations a second of a 3x3 convolution of 32 filters on this device, measured."""
    images, kernel = tf.random.normal((4, 128, 128, 32)), tf.random.normal((3, 3, 32, 32))
    convolve = tf.function(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"))
    convolve(images).numpy()
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        convolve(images).numpy()
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
