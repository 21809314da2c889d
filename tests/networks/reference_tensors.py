"""Tensors as the reference's PyTorch networks name and shape them, of values of our own."""

import numpy as np

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.reference_weights import variables


def reference_tensors(config: NetworkConfig) -> dict[str, np.ndarray]:
    """The state dict of a new network of this architecture."""
    size = 2**config.network_depth
    network = build_network(config, ImageShape(3, size, size))
    return {name: as_pytorch(np.array(variable)) for name, variable in variables(network, config).items()}


def as_pytorch(kernel: np.ndarray) -> np.ndarray:
    """A kernel [out, in, ...] of one [..., in, out]; vectors stay as they are."""
    return kernel if kernel.ndim < 2 else np.transpose(kernel, (-1, -2, *range(kernel.ndim - 2)))
