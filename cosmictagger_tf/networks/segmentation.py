"""What training and inference see of a network: a batch of pixel lists in, logits and matching labels out."""

from typing import NamedTuple, Protocol

import keras
from keras import ops

from cosmictagger_tf.backend import convolves_channels_first
from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.scatter import ScatterPixels, at_pixels


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


def scores_of(logits):
    """Each class's score, the softmax of logits [..., classes]; NaN for a pixel with a logit that is not finite.

    (Of -inf alone softmax makes a number like any other.)
    """
    finite = ops.all(ops.isfinite(logits), axis=-1, keepdims=True)
    return ops.where(finite, ops.softmax(logits, axis=-1), float("nan"))


class Preparation(Protocol):
    """Adds to a Batch of NumPy arrays what a network needs beside.

    Attributes:
        added: by name the shape, open sizes None, and the dtype of what is added.
    """

    added: dict[str, tuple[tuple[int | None, ...], str]]

    def __call__(self, batch: dict) -> dict:
        """The Batch, and what is added."""


class Segmenter(Protocol):
    """Runs a network on Batches (see data/batch.py).

    Attributes:
        network: what has the weights.
        shape: the images' shape, as the network takes them (after downsampling).
    """

    network: keras.Model
    shape: ImageShape

    @property
    def prepare(self) -> Preparation | None:
        """None, or what adds to a Batch all else that the network needs, on the host, ahead of the step."""

    def logits(self, batch, training: bool = False):
        """float32 [batch, planes, height, width, classes] of a Batch, all pixels."""

    def pixel_logits(self, batch, training: bool = False):
        """float32 [batch, planes, P, classes] of a Batch, at the pixels of its lists; of no use where padded."""

    def image_logits(self, images):
        """float32 [batch, planes, height, width, classes] of images [batch, planes, height, width], for inference."""

    def __call__(self, batch, training: bool = False) -> Segmentation:
        """The labels and logits of a Batch."""

    def at_listed_pixels(self, found: Segmentation, batch):
        """What pixel_logits gives, out of the Segmentation of the same Batch."""


class DenseSegmenter:
    """Scatters pixel lists into dense images on the device and runs a dense network on them; a Segmenter.

    Args:
        network: images [batch, planes, height, width] -> logits [batch, planes, height, width, classes].
        shape: the images' shape, as the network takes them (after downsampling).
    """

    def __init__(self, network: keras.Model, shape: ImageShape):
        self.network, self.shape = network, shape
        self.prepare: None = None
        self.scatter = ScatterPixels(shape.height, shape.width)

    def logits(self, batch, training: bool = False):
        """float32 [batch, planes, height, width, classes] of a Batch (see data/batch.py)."""
        images = self.scatter(batch["image_coordinates"], batch["image_values"])
        return self.network(images, training=training)

    def image_logits(self, images):
        """The network's."""
        return self.network(images, training=False)

    def pixel_logits(self, batch, training: bool = False):
        """float32 [batch, planes, P, classes] of a Batch, at the pixels of its lists."""
        return at_pixels(self.logits(batch, training), batch["image_coordinates"])

    def at_listed_pixels(self, found: Segmentation, batch):
        """float32 [batch, planes, P, classes], the logits at the pixels of the image's lists."""
        return at_pixels(found.logits, batch["image_coordinates"])

    def __call__(self, batch, training: bool = False) -> Segmentation:
        """The labels and logits of a Batch."""
        labels = self.scatter(batch["label_coordinates"], batch["label_values"])
        return Segmentation(labels, self.logits(batch, training))


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
        # Here, because that module needs this one.
        from cosmictagger_tf.networks.sparse.segmentation import SparseSegmenter

        return SparseSegmenter(network, config, shape, static)
    return DenseSegmenter(network, shape)
