"""Normalisation over the active sites of [sites, channels], and the leaky ReLU; padded sites take no part.

Both have gradients of their own, for memory's sake: plain differentiation keeps every step on the way. Here a
normalisation with its activation keeps its input and its output, an activation its output alone, from whose sign the
slope can be told.
"""

import keras
from keras import ops

from cosmictagger_tf.networks.sparse.gathers import upstream_of


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class LeakySum(keras.layers.Layer):
    """The leaky ReLU of a tensor, or of the sum of two. Call with one or two [sites, channels].

    Args:
        slope: for negative values; positive, so that a sign survives.
    """

    def __init__(self, slope: float, **kwargs):
        super().__init__(**kwargs)
        self.slope = slope

    def call(self, x, other=None):
        """[sites, channels]."""

        @ops.custom_gradient
        def activated(*terms):
            total = sum(terms[1:], terms[0])
            y = total if self.slope == 1 else ops.leaky_relu(total, self.slope)

            def gradient(*args, upstream=None):
                dx = leaky_gradient(upstream_of(args, upstream), y, self.slope)
                return tuple(dx for _ in terms)

            return y, gradient

        return activated(x) if other is None else activated(x, other)

    def compute_output_shape(self, x_shape):
        """The input's."""
        return x_shape

    def get_config(self):
        """What from_config needs."""
        return {**super().get_config(), "slope": self.slope}


def leaky_gradient(dy, y, slope: float):
    """The gradient of a leaky ReLU's input, from that of its output and the output."""
    return dy if slope == 1 else ops.where(y > 0, dy, slope * dy)


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SparseBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation over active sites, pooled over the planes or plane by plane, and a leaky ReLU.

    Call with features [n, channels] and images int32 [n], the image (event * planes + plane) of each site, -1 where
    padded. Statistics are computed in float32. Where there is no site, nothing is updated. With planes > 1 the moving
    statistics get one update a plane, in order, as the dense networks have it.

    Args:
        planes: 1 pools all planes; the number of planes keeps them apart.
        bessel: the moving variance takes the unbiased estimate.
        slope: of the leaky ReLU for negative values; 1 is none.
        momentum, epsilon: as in keras.layers.BatchNormalization.
    """

    def __init__(self, planes: int = 1, bessel: bool = False, slope: float = 1.0, **kwargs):
        super().__init__(axis=-1, **{k: v for k, v in kwargs.items() if k != "axis"})
        self.planes, self.bessel, self.slope = planes, bessel, slope

    def build(self, features_shape):
        """Makes gamma, beta and the moving statistics."""
        super().build(features_shape)
        self.input_spec = None

    def call(self, features, images, training=False):
        """[n, channels]."""
        x = ops.cast(features, "float32")
        if training and self.trainable:
            member = self._membership(images)
            # Reshaped to tensors: TensorFlow's custom gradients take no variables.
            gamma, beta = (ops.reshape(weight, (-1,)) for weight in (self.gamma, self.beta))
            y = normalise(x, gamma, beta, member, self.epsilon, self.slope, self._move)
        else:
            scale = ops.rsqrt(self.moving_variance + self.epsilon) * self.gamma
            y = ops.leaky_relu((x - self.moving_mean) * scale + self.beta, self.slope)
        return ops.cast(y, features.dtype)

    def _membership(self, images):
        """float32 [planes, n]: 1 where a site is of a plane."""
        active = ops.cast(images >= 0, "float32")[None]
        if self.planes == 1:
            return active
        planes = ops.arange(self.planes, dtype="int32")[:, None]
        return active * ops.cast(images % self.planes == planes, "float32")

    def _move(self, mean, variance, count):
        if self.bessel:
            variance = variance * (count / ops.maximum(count - 1.0, 1.0))
        moving_mean, moving_variance = self.moving_mean.value, self.moving_variance.value
        for plane in range(self.planes):
            step = ops.where(count[plane] > 0, 1.0 - self.momentum, 0.0)
            moving_mean = moving_mean + step * (mean[plane] - moving_mean)
            moving_variance = moving_variance + step * (variance[plane] - moving_variance)
        self.moving_mean.assign(moving_mean)
        self.moving_variance.assign(moving_variance)

    def compute_output_shape(self, features_shape):
        """The features'."""
        return features_shape

    def get_config(self):
        """What from_config needs."""
        options = {"planes": self.planes, "bessel": self.bessel, "slope": self.slope}
        return {**super().get_config(), **options}


def normalise(x, gamma, beta, member, epsilon: float, slope: float = 1.0, report=None):
    """Batch normalisation by the statistics of groups of rows, and a leaky ReLU.

    Args:
        x: float32 [n, channels].
        gamma, beta: [channels].
        member: float32 [groups, n], 1 where a row is of a group; a row is of one group, or of none (padding).
        epsilon, slope: constants.
        report: called with each group's mean and variance [groups, channels] and number of rows [groups, 1].

    Returns:
        float32 [n, channels].
    """
    count = ops.sum(member, axis=1, keepdims=True)
    share = member / ops.maximum(count, 1.0)
    groups = member.shape[0]

    def of_rows(statistics):
        return statistics if groups == 1 else ops.matmul(ops.transpose(member), statistics)

    fixed = ops.stop_gradient(x)
    mean = ops.matmul(share, fixed)
    variance = ops.matmul(share, ops.square(fixed - of_rows(mean)))
    deviation = ops.rsqrt(variance + epsilon)
    if report is not None:
        report(mean, variance, count)

    @ops.custom_gradient
    def normalised(x, gamma, beta):
        y = ops.leaky_relu((x - of_rows(mean)) * of_rows(deviation * gamma) + beta, slope)

        def gradient(*args, upstream=None):
            dy = leaky_gradient(upstream_of(args, upstream), y, slope)
            centred = x - of_rows(mean)
            mean_dy, mean_product = ops.matmul(share, dy), ops.matmul(share, dy * centred)
            # What the statistics' own dependence on x takes away, from the rows that they are made of.
            taken = centred * of_rows(deviation**3 * gamma * mean_product) + of_rows(deviation * gamma * mean_dy)
            taken = taken * ops.transpose(ops.sum(member, axis=0, keepdims=True))
            dgamma = ops.sum(count * deviation * mean_product, axis=0)
            return dy * of_rows(deviation * gamma) - taken, dgamma, ops.sum(count * mean_dy, axis=0)

        return y, gradient

    return normalised(x, gamma, beta)


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SparseGroupNormalization(keras.layers.GroupNormalization):
    """Group normalisation over the active sites of each image; with groups = -1 instance normalisation.

    Call with features [n, channels], images int32 [n] (-1 where padded) and deepest, a table of the rulebook with a row
    for every pixel of the deepest level: it tells how many images there are.

    Args:
        cells: pixels of an image at the deepest level.
        groups, epsilon: as in keras.layers.GroupNormalization.
    """

    def __init__(self, groups: int, cells: int, **kwargs):
        super().__init__(groups, axis=-1, **{k: v for k, v in kwargs.items() if k != "axis"})
        self.cells = cells

    def build(self, features_shape):
        """Makes gamma and beta."""
        super().build(features_shape)
        self.input_spec = None

    def call(self, features, images, deepest):
        """[n, channels]."""
        channels, number = features.shape[1], ops.shape(deepest)[0] // self.cells
        groups = channels if self.groups == -1 else self.groups
        image = ops.where(images < 0, number, images)
        x = ops.reshape(ops.cast(features, "float32"), (-1, groups, channels // groups))

        def mean_of_image(values):
            rows = ops.segment_sum(ops.ones_like(values[:, 0, 0]), image, number + 1)
            summed = ops.segment_sum(ops.mean(values, axis=2), image, number + 1)
            return ops.take(summed / ops.maximum(rows, 1.0)[:, None], image, axis=0)[..., None]

        centred = x - mean_of_image(x)
        x = centred * ops.rsqrt(mean_of_image(ops.square(centred)) + self.epsilon)
        return ops.cast(ops.reshape(x, (-1, channels)) * self.gamma + self.beta, features.dtype)

    def compute_output_shape(self, features_shape):
        """The features'."""
        return features_shape

    def get_config(self):
        """What from_config needs."""
        return {**super().get_config(), "cells": self.cells}
