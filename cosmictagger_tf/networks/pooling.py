"""Layers that make one vector of all pixels of an image: for heads that tell something of a whole readout.

Each is there for images, with a mask of the active pixels, and for the sites of the sparse network, which are grouped
by image; both give the same. They compute in float32: sums over many pixels are no numbers for half precision.
"""

import keras
from keras import ops

from cosmictagger_tf.backend import take_rows
from cosmictagger_tf.networks.joined_pixels import log_has_neutrino, log_pixels

# Below every feature; finite in half precision too.
BELOW_ALL = -60000.0


class Float32Layer(keras.layers.Layer):
    """A layer that computes in float32 whatever the policy."""

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class ImageAttention(Float32Layer):
    """The mean over an image's active pixels, weighted by the softmax of scores, for each of H scores.

    Call with x [images, height, width, channels], scores [images, height, width, H] and the mask of the active pixels
    [images, height, width, 1].
    """

    def call(self, x, scores, active):
        """float32 [images, H * channels], 0 for an image without an active pixel."""
        pixels, heads, channels = x.shape[1] * x.shape[2], scores.shape[-1], x.shape[-1]
        active = ops.reshape(active, (-1, pixels, 1))
        scores = ops.where(active > 0, ops.reshape(scores, (-1, pixels, heads)), BELOW_ALL)
        weights = ops.softmax(scores, axis=1) * active
        pooled = ops.matmul(ops.transpose(weights, (0, 2, 1)), ops.reshape(x, (-1, pixels, channels)))
        return ops.reshape(pooled, (-1, heads * channels))

    def compute_output_spec(self, x, scores, active):
        return keras.KerasTensor((x.shape[0], scores.shape[-1] * x.shape[-1]), "float32")


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class ImageTotals(Float32Layer):
    """How many active pixels an image has, and the sum and the maximum of a number >= 0 over them.

    Call with x [images, height, width, 1] and the mask of the active pixels.
    """

    def call(self, x, active):
        """float32 [images, 3]."""
        number, total = (ops.sum(each, axis=(1, 2)) for each in (active, x * active))
        return ops.concatenate([number, total, ops.max(x * active, axis=(1, 2))], axis=1)

    def compute_output_spec(self, x, active):
        return keras.KerasTensor((x.shape[0], 3), "float32")


class SiteLayer(Float32Layer):
    """A layer that makes a row for each image of the sites of a level; padded sites take no part.

    Args:
        cells: pixels of an image at the deepest level. A table with a row for each tells how many images there are.
    """

    def __init__(self, cells: int, **kwargs):
        super().__init__(**kwargs)
        self.cells = cells

    def segments(self, images, deepest):
        """The number of images, and int32 [n], the image of each site; that number where padded."""
        number = ops.shape(deepest)[0] // self.cells
        return number, ops.where(images < 0, number, images)

    def get_config(self):
        return {**super().get_config(), "cells": self.cells}


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SiteAttention(SiteLayer):
    """ImageAttention for sites: call with x [n, channels], scores [n, H], images [n] and a row a deepest pixel."""

    def call(self, x, scores, images, deepest):
        """float32 [images, H * channels], 0 for an image without a site."""
        number, images = self.segments(images, deepest)
        greatest = ops.segment_max(ops.stop_gradient(scores), images, number + 1)
        # An image without a site has a maximum of -inf, which no site takes.
        weights = ops.exp(scores - take_rows(greatest, images))
        heads, channels = scores.shape[1], x.shape[1]
        products = ops.reshape(weights[:, :, None] * x[:, None, :], (-1, heads * channels))
        sums, totals = (ops.segment_sum(each, images, number + 1)[:-1] for each in (products, weights))
        sums = ops.reshape(sums, (-1, heads, channels)) / ops.maximum(totals, 1e-30)[:, :, None]
        return ops.reshape(sums, (-1, heads * channels))

    def compute_output_spec(self, x, scores, images, deepest):
        return keras.KerasTensor((None, scores.shape[1] * x.shape[1]), "float32")


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SiteTotals(SiteLayer):
    """ImageTotals for sites: call with x [n, 1], images [n] and a row a deepest pixel."""

    def call(self, x, images, deepest):
        """float32 [images, 3]."""
        number, images = self.segments(images, deepest)
        sums = ops.segment_sum(ops.concatenate([ops.ones_like(x), x], axis=1), images, number + 1)
        greatest = ops.maximum(ops.segment_max(x, images, number + 1), 0)
        return ops.concatenate([sums, greatest], axis=1)[:-1]

    def compute_output_spec(self, x, images, deepest):
        return keras.KerasTensor((None, 3), "float32")


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class OrLearned(Float32Layer):
    """Replaces rows of x [n, channels] by one learned row where number is 0. Call with x and number [n, 1]."""

    def build(self, x_shape, number_shape):
        self.row = self.add_weight(shape=(x_shape[-1],), initializer="zeros", name="row")

    def call(self, x, number):
        """[n, channels]."""
        return ops.where(number > 0, x, self.row)

    def compute_output_shape(self, x_shape, number_shape):
        return x_shape


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class JoinedLogits(Float32Layer):
    """Logits of pixels with P(neutrino) = P(neutrino | the readout has one) P(the readout has one): joined_pixels.py.

    The event's logits get no gradient from the pixels' loss.

    Call with logits [..., classes of a pixel] and event [..., classes of a readout], of the same leading axes or of 1.
    """

    def call(self, logits, event):
        """float32, the shape of the logits."""
        return log_pixels(logits, log_has_neutrino(ops.stop_gradient(event), ops), ops)

    def compute_output_spec(self, logits, event):
        return keras.KerasTensor(logits.shape, "float32")
