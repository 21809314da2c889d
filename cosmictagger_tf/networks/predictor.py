"""Scores of every pixel, on any Keras backend."""

import contextlib

import keras

from cosmictagger_tf.networks.segmentation import PIXELS, Segmenter, scores_of
from cosmictagger_tf.progress import activity


class Predictor(keras.Model):
    """Runs a segmenter on Batches and gives each class's score.

    Args:
        segmenter: see networks/segmentation.py.
        xla: compile with XLA.

    predict_on_batch(batch) returns float32 [batch, planes, height, width, classes], adding up to 1 over the classes.
    """

    def __init__(self, segmenter: Segmenter, xla: bool):
        # The network itself casts what it takes.
        super().__init__(dtype="float32")
        # An attribute, so that Keras knows its weights: JAX takes those of an unknown layer for constants.
        self.segmenter, self.network = segmenter, segmenter.network
        self.built = True
        self.compile(jit_compile=xla)

    def predict_on_batch(self, x):
        """As Keras has it; shows that the first one takes longer."""
        first = self.predict_function is None
        with activity("tracing the network") if first else contextlib.nullcontext():
            return super().predict_on_batch(x)

    def call(self, batch):
        """The scores of a Batch, prepared by the segmenter where it asks for it."""
        return scores_of(self.segmenter.logits(batch))


class PixelPredictor(Predictor):
    """Gives each class's score at the pixels of the image's lists only, and what the network's heads give.

    predict_on_batch(batch) returns a dict: PIXELS float32 [batch, planes, P, classes], of no use where padded, and see
    heads.with_heads.
    """

    def call(self, batch):
        """The same of a Batch, prepared by the segmenter where it asks for it."""
        logits, heads = self.segmenter.pixel_outputs(batch)
        return {PIXELS: scores_of(logits), **heads}


class ImagePredictor(Predictor):
    """Gives each class's score at all pixels, and what the network's heads give.

    predict_on_batch(batch) returns a dict: PIXELS float32 [batch, planes, height, width, classes], and see
    heads.with_heads.
    """

    def call(self, batch):
        """The same of a Batch, prepared by the segmenter where it asks for it."""
        logits, heads = self.segmenter.outputs(batch)
        return {PIXELS: scores_of(logits), **heads}
