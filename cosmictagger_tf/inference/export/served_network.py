"""A trained network as the signatures of an exported model see it: images or pixels in, scores and events out."""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from cosmictagger_tf.detector import PADDING_COORDINATE, ImageShape
from cosmictagger_tf.networks.scatter import ScatterPixels, at_pixels
from cosmictagger_tf.networks.segmentation import EVENT, VERTEX, Segmenter, heads_of, scores_of
from cosmictagger_tf.training.vertex_cells import predicted_vertices

SCORES = "scores"


class ServedNetwork:
    """A network as the signatures see it.

    Args:
        segmenter: built under the float32 policy, weights loaded.
        downsample: halvings that are done inside; 0 = the input is at the network's resolution.
        default: the signature that serving_default is.
        event_temperature: what the logits of the event's class are divided by before they become probabilities.

    Attributes:
        output, input: the shapes of the network's images, and of those that go in.
        has_heads: whether it gives more than scores.
        image_results: a function of images float32 [samples, rows, columns, planes] that gives a dict of
            "scores" [samples, rows, columns, planes, classes], and what event_outputs has.
        pixel_results: a function of coordinates and values (see saved_model.py) that gives the same with the scores
            [samples, planes, pixels, classes] of the pixels, 0 where padded or outside the image.
    """

    def __init__(
        self, segmenter: Segmenter, downsample: int = 0, default: str = "dense", event_temperature: float = 1.0
    ):
        self.segmenter, self.downsample, self.default = segmenter, downsample, default
        self.event_temperature = event_temperature
        self.has_heads = bool(heads_of(segmenter.network.output))
        self.output = segmenter.shape
        self.input = ImageShape(self.output.planes, self.output.height << downsample, self.output.width << downsample)
        self.scatter = ScatterPixels(self.output.height, self.output.width)
        variables = segmenter.network.variables
        self.weights = tf.Variable(np.concatenate([np.ravel(variable) for variable in variables]), name="weights")
        # Traced once, and called by the signatures.
        self.image_results = tf.function(self._with_weights(self._image_results), autograph=False)
        self.pixel_results = tf.function(self._with_weights(self._pixel_results), autograph=False)

    def _with_weights(self, function):
        """The function, with the network's weights out of the one variable that has them all.

        Each function of a SavedModel hands the variables of those that it calls on to them, which takes longer than all
        else where there are hundreds.
        """
        variables = self.segmenter.network.variables

        def compute(*inputs):
            parts = tf.split(self.weights, [math.prod(variable.shape) for variable in variables])
            values = [tf.reshape(part, variable.shape) for part, variable in zip(parts, variables, strict=True)]
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return function(*inputs)

        return compute

    def _image_results(self, images):
        finite = ops.all(ops.isfinite(images), axis=(1, 2, 3))
        images = ops.transpose(images, (0, 3, 1, 2))
        if self.downsample:
            size, out = 2**self.downsample, self.output
            images = ops.reshape(images, (-1, out.planes, out.height, size, out.width, size))
            images = ops.mean(images, axis=(3, 5))
        logits, heads = self.segmenter.image_outputs(images)
        return self._results(ops.transpose(scores_of(logits), (0, 2, 3, 1, 4)), heads, finite)

    def _pixel_results(self, coordinates, values):
        size = ops.convert_to_tensor([self.input.height, self.input.width], dtype="int32")
        inside = ops.all((coordinates >= 0) & (coordinates < size), axis=-1, keepdims=True)
        coordinates = ops.where(inside, coordinates, PADDING_COORDINATE)
        values = ops.where(inside[..., 0], values, 0.0)
        finite = ops.all(ops.isfinite(values), axis=(1, 2))
        if self.downsample:
            coordinates = ops.floor_divide(coordinates, 2**self.downsample)
            # The pixels of a block add up in the scatter; absent ones count 0.
            images = self.scatter(coordinates, values / 4**self.downsample)
            logits, heads = self.segmenter.image_outputs(images)
            scores = at_pixels(scores_of(logits), coordinates)
        else:
            batch = {"image_coordinates": coordinates, "image_values": values}
            logits, heads = self.segmenter.pixel_outputs(batch)
            scores = scores_of(logits)
        results = self._results(scores, heads, finite)
        return results | {SCORES: ops.where(inside, results[SCORES], 0.0)}

    def _results(self, scores, heads, finite) -> dict:
        """Scores and events by name, NaN for the samples that are not finite: bool [samples]."""
        results = {SCORES: scores} | event_outputs(heads, self.output, self.downsample, self.event_temperature)
        return {
            name: ops.where(ops.reshape(finite, (-1, *[1] * (len(result.shape) - 1))), result, float("nan"))
            for name, result in results.items()
        }


def event_outputs(heads: dict, shape: ImageShape, downsample: int, event_temperature: float) -> dict:
    """What an exported model gives of whole readouts.

    Args:
        heads: of a network, by name; see heads.with_heads.
        shape: of its images.
        downsample: halvings from the images that go in to those.
        event_temperature: see ServedNetwork.

    Returns:
        As far as the network has the heads, float32:
            event_logits          [samples, classes of an event]
            event_probabilities   [samples, classes of an event], those of the logits divided by the temperature
            vertices              [samples, planes, 2], (row, column) in pixels of the images that go in, whose whole
                                  parts are the pixel: where the cell with the greatest score points to, within the
                                  image; NaN on a plane of a sparse network that has no pixel
            vertex_scores         [samples, planes], between 0 and 1, of that cell
    """
    outputs: dict = {}
    if EVENT in heads:
        logits = heads[EVENT]
        outputs |= {"event_logits": logits, "event_probabilities": scores_of(logits / event_temperature)}
    if VERTEX in heads:
        vertex = heads[VERTEX]
        places, scores = predicted_vertices(vertex, shape.height / vertex.shape[2])
        # A cell may point beyond the image; the last place within it is put in its stead.
        places = ops.clip(places, 0.0, np.nextafter(np.array((shape.height, shape.width), np.float32), np.float32(0)))
        # Where no cell has a pixel, none is the vertex's.
        vertices = ops.where(scores[..., None] > 0, places * 2**downsample, float("nan"))
        outputs |= {"vertices": vertices, "vertex_scores": scores}
    return outputs
