"""What training and inference see of a network: a batch of pixel lists in, logits and matching labels out."""

from typing import NamedTuple

import keras

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.scatter import ScatterPixels


class Segmentation(NamedTuple):
    """Logits and labels of a batch, pixel by pixel.

    Attributes:
        labels: int32 [batch, planes, ...].
        logits: float32 [batch, planes, ..., classes].
        multiplicity: None, or int32 [batch, planes, ...]: how many equal pixels an element stands for.
    """

    labels: object
    logits: object
    multiplicity: object = None


class DenseSegmenter:
    """Scatters pixel lists into dense images on the device and runs a dense network on them.

    Args:
        network: images [batch, planes, height, width] -> logits [batch, planes, height, width, classes].
        shape: the images' shape, as the network takes them (after downsampling).
    """

    def __init__(self, network: keras.Model, shape: ImageShape):
        self.network, self.shape = network, shape
        self.scatter = ScatterPixels(shape.height, shape.width)

    def logits(self, batch, training: bool = False):
        """float32 [batch, planes, height, width, classes] of a Batch (see data/batch.py)."""
        images = self.scatter(batch["image_coordinates"], batch["image_values"])
        return self.network(images, training=training)

    def __call__(self, batch, training: bool = False) -> Segmentation:
        """The labels and logits of a Batch."""
        labels = self.scatter(batch["label_coordinates"], batch["label_values"])
        return Segmentation(labels, self.logits(batch, training))


def build_segmenter(config: NetworkConfig, shape: ImageShape) -> DenseSegmenter:
    """The segmenter of an architecture for images of `shape`; raises ConfigError where they do not fit."""
    return DenseSegmenter(build_network(config, shape), shape)
