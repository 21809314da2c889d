"""Weights of the reference's PyTorch networks, by their PyTorch names, put into ours.

The names were read off its saved networks (2D: down_blocks.blocks.0, 3D: down_blocks.block_0, and so on); a PyTorch
kernel [out, in, ...] is a Keras kernel [..., in, out].
"""

import re
from collections.abc import Iterator, Mapping

import keras
import numpy as np

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.errors import UserError

# Present in PyTorch's batch norms, without a counterpart: they count updates.
IGNORED = "num_batches_tracked"
NORM_VARIABLES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


# Options of the reference that are not taken over, and names of tensors that they are known by.
NOT_TAKEN_OVER = {
    "SparseConvNet's layers": r"^initial_convolution\.weight$|\.(relu\d?|norm\d)\.running_mean$|\.conv\d\.weight$",
    "downsampling=convolutional": r"\.downsample\.conv\.",
    "upsampling=convolutional": r"\.upsample\.conv\.",
}
# Convolutions that no normalisation follows, by our layers' names.
BARE = {
    "logits": "bottleneck",
    "event_input": "classifier_input",
    "event_output": "bottleneck_classifer",
    "vertex_input": "vertex_input",
    "vertex_output": "bottleneck_vertex",
}
BLOCK_KERNELS = re.compile(r"(down_blocks|up_blocks|final_layer|classifier|vertex_layers)\..*conv\.weight$")


class WeightsDoNotFit(UserError):
    """Tensors are missing, left over, of another shape or not finite; or of an option that is not taken over."""


def units(config: NetworkConfig) -> Iterator[tuple[str, str]]:
    """(PyTorch name, our layers' name) of every convolution with its normalisation."""
    flat = config.conv_mode == "2D"

    def blocks(theirs, ours, count):
        for i in range(count):
            block = f"{theirs}.blocks.{i}" if flat else f"{theirs}.block_{i}"
            parts = ((".convolution_1", "_1"), (".convolution_2", "_2")) if config.residual else (("", ""),)
            for their_part, our_part in parts:
                yield block + their_part, f"{ours}_{i}{our_part}"

    yield "initial_convolution", "initial"
    core = "net_core"
    for depth in range(config.network_depth):
        level = f"level{depth}"
        yield from blocks(f"{core}.down_blocks", f"{level}_down", config.blocks_at(depth))
        yield f"{core}.downsample.bottleneck", f"{level}_downsample"
        yield f"{core}.upsample.bottleneck", f"{level}_upsample"
        yield from blocks(f"{core}.up_blocks", f"{level}_up", config.blocks_at(depth))
        if config.connections == "concat":
            yield f"{core}.connection.bottleneck", f"{level}_connect"
        core += ".main_module"
    core += ".main_module"
    yield f"{core}.{'bottleneck' if flat else 'merger'}", "deepest_bottleneck"
    yield from blocks(f"{core}.blocks", "deepest", config.blocks_deepest_layer)
    yield f"{core}.{'unbottleneck' if flat else 'splitter'}", "deepest_unbottleneck"
    yield from blocks("final_layer", "final", config.blocks_final)
    yield from blocks("classifier", "event", config.event_blocks if config.event_head else 0)
    yield from blocks("vertex_layers", "vertex", config.vertex_blocks if config.vertex_head else 0)


def check_taken_over(tensors: Mapping[str, np.ndarray]):
    """Raises WeightsDoNotFit for tensors of a network that is not known to compute as ours does, naming its option."""
    options = [
        f"{option} ({next(iter(names))})"
        for option, pattern in NOT_TAKEN_OVER.items()
        if (names := [name for name in tensors if re.search(pattern, name)])
    ]
    norms = [name for name in tensors if name.endswith("norm.weight")]
    if not options and not norms:
        options = ["normalization=none or instance, which have the same tensors (no normalisation's are there)"]
    elif not options and not any(name.endswith("running_mean") for name in tensors):
        options = [f"normalization=group or layer ({norms[0]} has no running_mean beside it)"]
    kernels = {n: t.shape for n, t in tensors.items() if BLOCK_KERNELS.search(n) and t.shape[-2:] != (3, 3)}
    if not options and kernels:
        options = [
            "blocks with other kernels than 3x3, such as convnext's ({} is {})".format(*next(iter(kernels.items())))
        ]
    if options:
        raise WeightsDoNotFit(f"these weights are of the reference's {', '.join(options)}: not taken over yet")


def variables(network: keras.Model, config: NetworkConfig) -> dict[str, keras.Variable]:
    """PyTorch name -> our variable, for every weight of the network."""
    by_name: dict[str, keras.Variable] = {}
    layers = {layer.name: layer for layer in network.layers}
    pairs = [(theirs, f"{ours}_conv", f"{ours}_norm") for theirs, ours in units(config)]
    for theirs, conv, norm in pairs:
        if conv in layers:
            by_name |= _convolution(layers[conv], f"{theirs}.conv")
        if norm in layers:
            names = {v.name: v for v in layers[norm].variables}
            by_name |= {f"{theirs}.norm.{NORM_VARIABLES[name]}": v for name, v in names.items()}
    for ours, theirs in BARE.items():
        if ours in layers:
            by_name |= _convolution(layers[ours], theirs)
    return by_name


def _convolution(layer, theirs):
    return {f"{theirs}.weight": layer.kernel} | ({f"{theirs}.bias": layer.bias} if layer.use_bias else {})


def assign_reference_weights(network: keras.Model, config: NetworkConfig, tensors: Mapping[str, np.ndarray]):
    """Puts a PyTorch state dict into a network, all of it or nothing.

    Args:
        network: built from config by build_network.
        config: its architecture.
        tensors: PyTorch name -> array.

    Raises:
        WeightsDoNotFit: naming every tensor that is missing, left over, of another shape or not finite, or the option
            of the reference that is not taken over.
    """
    check_taken_over(tensors)
    theirs = {name: array for name, array in tensors.items() if not name.endswith(IGNORED)}
    ours = variables(network, config)
    wrong = [f"{name} is missing" for name in ours if name not in theirs]
    wrong += [f"{name} has no place in this architecture" for name in theirs if name not in ours]
    arrays = {name: _to_keras(theirs[name]) for name in ours if name in theirs}
    for name, array in arrays.items():
        if array.shape != tuple(ours[name].shape):
            wrong.append(f"{name} is {array.shape}, here {tuple(ours[name].shape)}")
        elif not np.isfinite(array).all():
            wrong.append(f"{name} is not finite")
    if wrong:
        raise WeightsDoNotFit(f"{len(wrong)} tensors do not fit this architecture: {'; '.join(wrong)}")
    for name, array in arrays.items():
        ours[name].assign(array)


def _to_keras(array: np.ndarray) -> np.ndarray:
    return array if array.ndim < 2 else np.transpose(array, (*range(2, array.ndim), 1, 0))
