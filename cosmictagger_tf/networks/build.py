"""From an architecture to its network."""

import keras

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.sparse.uresnet import build_sparse_uresnet
from cosmictagger_tf.networks.uresnet import build_uresnet


def build_network(config: NetworkConfig, shape: ImageShape) -> keras.Model:
    """The Keras model of an architecture; raises ConfigError where it cannot be built for this shape."""
    build = build_sparse_uresnet if config.conv_mode == "sparse" else build_uresnet
    return build(config, shape)
