"""From an architecture to its network, and to its segmenter."""

import keras

from cosmictagger_tf.backend import convolves_channels_first, leave_out_graph_passes
from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.dense_segmenter import DenseSegmenter
from cosmictagger_tf.networks.segmentation import Segmenter
from cosmictagger_tf.networks.sparse.sparse_segmenter import SparseSegmenter
from cosmictagger_tf.networks.sparse.uresnet import build_sparse_uresnet
from cosmictagger_tf.networks.uresnet import build_uresnet


def build_network(config: NetworkConfig, shape: ImageShape) -> keras.Model:
    """The Keras model of an architecture; raises ConfigError where it cannot be built for this shape."""
    build = build_sparse_uresnet if config.conv_mode == "sparse" else build_uresnet
    return build(config, shape)


def build_segmenter(config: NetworkConfig, shape: ImageShape, static: bool = False) -> Segmenter:
    """The segmenter of an architecture for images of `shape`.

    Args:
        static: for XLA: a sparse network's lists come in a few lengths only, so that few programs are compiled.

    Raises:
        ConfigError: the images do not fit, or this machine has no convolutions of that data_format.
    """
    if config.data_format == "channels_first" and not static and not convolves_channels_first():
        raise ConfigError(
            "--data_format=channels_first: TensorFlow has no such convolutions for this CPU without XLA: leave it "
            "out, or try --xla, or TF_ENABLE_ONEDNN_OPTS=1 in the environment"
        )
    network = build_network(config, shape)
    if config.conv_mode == "sparse":
        leave_out_graph_passes()
        return SparseSegmenter(network, config, shape, static)
    return DenseSegmenter(network, shape, config.head_design)
