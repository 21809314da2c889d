"""Normalisation over the active sites of [sites, channels], and the leaky ReLU; padded sites take no part.

Both have gradients of their own, for memory's sake: plain differentiation keeps every step on the way. An activation
keeps its output alone, from whose sign the slope can be told.
"""

from typing import Any, NamedTuple

import keras
from keras import ops

from cosmictagger_tf.backend import take_rows, upstream_of, value_of
from cosmictagger_tf.networks.normalization import leaky, leaky_gradient, moved, normalise


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
        return leaky_sum(*((x,) if other is None else (x, other)), slope=self.slope)

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        return {**super().get_config(), "slope": self.slope}


def leaky_sum(*terms, slope: float):
    """The leaky ReLU of a sum of tensors; its gradient keeps the output alone."""

    @ops.custom_gradient
    def activated(*terms):
        total = sum(terms[1:], terms[0])
        y = leaky(total, slope)

        def gradient(*args, upstream=None):
            dx = leaky_gradient(upstream_of(args, upstream), y, slope)
            return tuple(dx for _ in terms)

        return y, gradient

    return activated(*terms)


class Groups(NamedTuple):
    """The groups of rows that have statistics in common; a row is of one group, or of none (padding).

    Attributes:
        rows: float32 [n, groups], 1 where a row is of a group.
        share: float32 [groups, n], the same by the group's number of rows: share @ x is the mean.
        size: float32 [groups, 1], that number.
    """

    rows: Any
    share: Any
    size: Any


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SiteGroups(keras.layers.Layer):
    """The sites of a level as Groups: all active ones, or plane by plane. Call with images int32 [n], -1 where padded.

    Args:
        planes: 1 pools all planes; the number of planes keeps them apart.
    """

    def __init__(self, planes: int = 1, **kwargs):
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})
        self.planes = planes

    def call(self, images):
        """Groups."""
        rows = ops.cast(images[:, None] >= 0, "float32")
        if self.planes > 1:
            plane = ops.arange(self.planes, dtype="int32")
            rows = rows * ops.cast(images[:, None] % self.planes == plane, "float32")
        # Counted as integers: a float32 that ones are added to stays what it is from 2**24 on.
        size = ops.cast(ops.sum(ops.cast(rows, "int32"), axis=0), "float32")[:, None]
        # A single column is not transposed: TensorFlow would do that before the cast, and oneDNN complains of booleans
        # on processors without AVX-512.
        turned = ops.transpose(rows) if self.planes > 1 else ops.reshape(rows, (1, -1))
        return Groups(rows, turned / ops.maximum(size, 1.0), size)

    def compute_output_shape(self, images_shape):
        n = images_shape[0]
        return Groups((n, self.planes), (self.planes, n), (self.planes, 1))

    def get_config(self):
        return {**super().get_config(), "planes": self.planes}


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SparseBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation over active sites, pooled over the planes or plane by plane, and a leaky ReLU.

    Call with features [n, channels] and the three arrays of their SiteGroups. Statistics are computed in float32. Where
    there is no site, nothing is updated. With several groups the moving statistics get one update a group, in order, as
    the dense networks have it.

    Args:
        bessel: the moving variance takes the unbiased estimate.
        slope: of the leaky ReLU for negative values; 1 is none.
        momentum, epsilon: as in keras.layers.BatchNormalization.
    """

    def __init__(self, bessel: bool = False, slope: float = 1.0, **kwargs):
        # No autocast: in half precision a number of sites would be a rough one.
        super().__init__(axis=-1, autocast=False, **{k: v for k, v in kwargs.items() if k != "axis"})
        self.bessel, self.slope = bessel, slope

    def build(self, features_shape, *groups_shapes):
        super().build(features_shape)
        self.input_spec = None

    def call(self, features, rows, share, size, training=False):
        """[n, channels]."""
        x = ops.cast(features, "float32")
        if training and self.trainable:
            gamma, beta = value_of(self.gamma), value_of(self.beta)
            groups = Groups(rows, share, size)
            y, mean, variance = normalise_groups(x, gamma, beta, groups, epsilon=self.epsilon, slope=self.slope)
            moving = self.moving_mean.value, self.moving_variance.value
            mean, variance = moved(*moving, mean, variance, size, momentum=self.momentum, bessel=self.bessel)
            self.moving_mean.assign(mean)
            self.moving_variance.assign(variance)
        else:
            weights = self.gamma, self.beta, self.moving_mean, self.moving_variance
            y = scaled(x, *weights, epsilon=self.epsilon, slope=self.slope)
        return ops.cast(y, features.dtype)

    def compute_output_shape(self, features_shape, *groups_shapes):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "bessel": self.bessel, "slope": self.slope}


def scaled(x, gamma, beta, mean, variance, *, epsilon: float, slope: float):
    """Batch normalisation of x [n, channels] by given statistics [channels], and a leaky ReLU."""
    return leaky((x - mean) * (ops.rsqrt(variance + epsilon) * gamma) + beta, slope)


def normalise_groups(x, gamma, beta, groups: Groups, **constants):
    """As normalise, by the statistics of groups of rows of x [n, channels]."""
    rows, share, size = groups
    pooled = rows.shape[1] == 1

    def mean_of(values):
        return ops.matmul(share, values)

    def spread(statistics):
        return statistics if statistics.shape[0] == 1 else ops.matmul(rows, statistics)

    return normalise(x, gamma, beta, mean_of, spread, size, rows if pooled else None, **constants)


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
            summed = ops.segment_sum(ops.sum(values, axis=2) / values.shape[2], image, number + 1)
            return take_rows(summed / ops.maximum(rows, 1.0)[:, None], image)[..., None]

        centred = x - mean_of_image(x)
        x = centred * ops.rsqrt(mean_of_image(ops.square(centred)) + self.epsilon)
        return ops.cast(ops.reshape(x, (-1, channels)) * self.gamma + self.beta, features.dtype)

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "cells": self.cells}
