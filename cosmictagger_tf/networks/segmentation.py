"""What training and inference see of a network: a batch of pixel lists in, logits and matching labels out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import keras
from keras import ops

from cosmictagger_tf.detector import ImageShape


class Segmentation(NamedTuple):
    """Logits and labels of a batch, pixel by pixel.

    Attributes:
        labels: int32 [batch, planes, ...].
        logits: float32 [batch, planes, ..., classes].
        multiplicity: None, or int32 [batch, planes, ...]: how many equal pixels an element stands for.
        heads: what the network's heads give, by name; see heads.with_heads.
    """

    labels: Any
    logits: Any
    multiplicity: Any = None
    heads: Mapping[str, Any] = MappingProxyType({})


# The names of the outputs of a network that has several: the pixels' logits, and those of its heads (see heads.py).
PIXELS, EVENT, VERTEX = "pixels", "event", "vertex"


def pixels_of(outputs):
    """The logits of the pixels, from what a network gives: these alone, or several outputs by name."""
    return outputs[PIXELS] if isinstance(outputs, dict) else outputs


def heads_of(outputs) -> dict:
    """What the heads of a network give, by name, from all that it gives; nothing where it has none."""
    return {name: output for name, output in outputs.items() if name != PIXELS} if isinstance(outputs, dict) else {}


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
        network: what has the weights; its outputs as pixels_of takes them.
        shape: the images' shape, as the network takes them (after downsampling).
        head_design: of the network's heads, where it has some.
    """

    network: keras.Model
    shape: ImageShape
    head_design: str

    @property
    def prepare(self) -> Preparation | None:
        """None, or what adds to a Batch all else that the network needs, on the host, ahead of the step."""

    def logits(self, batch, training: bool = False):
        """float32 [batch, planes, height, width, classes] of a Batch, all pixels."""

    def outputs(self, batch, training: bool = False):
        """The same, and the dict of what the network's heads give (see heads.with_heads)."""

    def pixel_logits(self, batch, training: bool = False):
        """float32 [batch, planes, P, classes] of a Batch, at the pixels of its lists; of no use where padded."""

    def pixel_outputs(self, batch, training: bool = False):
        """The same, and the dict of what the network's heads give (see heads.with_heads)."""

    def image_outputs(self, images):
        """Of images [batch, planes, height, width], for inference.

        Returns:
            float32 [batch, planes, height, width, classes], the logits, and the dict of what the network's heads give.
        """

    def __call__(self, batch, training: bool = False) -> Segmentation:
        """The labels and logits of a Batch."""

    def at_listed_pixels(self, segmentation: Segmentation, batch):
        """What pixel_logits gives, out of the Segmentation of the same Batch."""
