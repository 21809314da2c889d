"""From an architecture to its network."""

import keras

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.uresnet import build_uresnet


def build_network(config: NetworkConfig, shape: ImageShape) -> keras.Model:
    """The Keras model of an architecture; raises ConfigError where it cannot be built for this shape."""
    if config.conv_mode == "sparse":
        raise ConfigError("--conv_mode=sparse is not available yet: use 2D or 3D")
    return build_uresnet(config, shape)
