"""What one training step takes in memory and computing, counted on each Keras backend without training."""

import math

import keras
import numpy as np

from cosmictagger_tf.training.model import SegmentationModel

CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative")


def step_cost(model: SegmentationModel, batch: dict) -> tuple[int, int]:
    """What a training step on a Batch takes.

    TensorFlow and JAX trace the step, PyTorch runs it without the update. Memory is that of all tensors that the
    forward pass leaves to the backward pass; a compiler that fuses operations needs less. Operations are those of
    convolutions and matrix products, a multiplication and an addition counting as two.

    Args:
        model: built; weights and optimizer stay as they are.
        batch: prepared; its shapes are what counts.

    Returns:
        Bytes of activations, and floating-point operations.
    """
    costs = {"tensorflow": _tensorflow_cost, "jax": _jax_cost, "torch": _torch_cost}
    return costs[keras.backend.backend()](model, {name: a for name, a in batch.items() if name != "entries"})


def _jax_cost(model, batch):
    import jax

    trained, others = ([v.value for v in group] for group in (model.trainable_variables, model.non_trainable_variables))

    def loss(trained):
        outputs, *_ = model.stateless_call(trained, others, batch, training=True)
        return model.compute_loss(batch, y_pred=outputs)

    kept = jax.tree.leaves(jax.eval_shape(lambda values: jax.vjp(loss, values)[1], trained))
    memory = sum(math.prod(array.shape) * array.dtype.itemsize for array in kept)
    # The weights are among what is kept.
    memory -= sum(value.size * value.dtype.itemsize for value in trained)
    return max(memory, 0), _count(jax.make_jaxpr(jax.grad(loss))(trained).jaxpr)


def _torch_cost(model, batch):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    weights, kept = {variable.value.data_ptr() for variable in model.variables}, {}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    statistics = [keras.ops.copy(variable.value) for variable in model.non_trainable_variables]
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model.compute_loss(batch, y_pred=model(batch, training=True)).backward()
    model.zero_grad()
    for variable, value in zip(model.non_trainable_variables, statistics, strict=True):
        variable.assign(value)
    return sum(kept.values()), counter.get_total_flops()


def _tensorflow_cost(model, batch):
    import tensorflow as tf

    variables = model.trainable_weights
    forward: list = []

    def step(data):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(data, y_pred=model(data, training=True))
        forward.extend(tf.compat.v1.get_default_graph().get_operations())
        return tape.gradient(loss, variables)

    specification = {name: tf.TensorSpec(array.shape, array.dtype) for name, array in batch.items()}
    with model.network.unshared():
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
    return memory, sum(map(_operations, _needed(graph)))


def _needed(graph) -> set:
    """The operations that the graph's outputs are computed from; not, say, the gradient of the image."""
    needed, waiting = set(), [tensor.op for tensor in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation not in needed:
            needed.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    return needed


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


def _count(jaxpr) -> int:
    """Operations of the convolutions and matrix products of a jaxpr and of those inside it, each once.

    A multiplication and an addition count as two. A convolution of rows that zeros were put between (the gradient of a
    strided one) counts without the products with them.
    """
    total = 0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        elif name == "conv_general_dilated":
            total += _of_convolution(equation)
        else:
            total += sum(_count(inner) for inner in _inside(parameters))
    return total


def _inside(parameters):
    for value in parameters.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def _of_convolution(equation) -> int:
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    kernel, result = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    filters = kernel[numbers.rhs_spec[0]]
    between = math.prod(parameters["lhs_dilation"]) * math.prod(parameters["rhs_dilation"])
    return 2 * math.prod(result) * (math.prod(kernel) // filters) // between
