"""The layers of the sparse network: features [sites, channels] and tables of the rulebook in, features out.

Their weights have the names and shapes of their counterparts in the dense 3D network, so that weights can be exchanged.
"""

from itertools import pairwise

import keras
from keras import ops

from cosmictagger_tf.backend import take_rows, value_of
from cosmictagger_tf.networks.sparse import gathers


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SubmanifoldConv(keras.layers.Layer):
    """A submanifold convolution of size 1, 3 or 5: active sites stay active, empty pixels stay empty.

    Call with features [n, in] and, for a size above 1, the rulebook's table of neighbours.

    Args:
        filters: channels that come out.
        size: of the window.
        use_bias: whether a bias is added.
        kernel_regularizer: penalty on the kernel.

    Weights: kernel [1, size, size, in, filters], bias [filters].
    """

    def __init__(self, filters, size, use_bias=True, kernel_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.size, self.use_bias = filters, size, use_bias
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """That of the dense counterpart."""
        return (1, self.size, self.size, channels, self.filters)

    def build(self, features_shape):
        shape = self.kernel_shape(features_shape[-1])
        self.kernel = self.add_weight(
            shape=shape, initializer="glorot_uniform", regularizer=self.kernel_regularizer, name="kernel"
        )
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, features, neighbours=None):
        """[n, filters]."""
        if self.size == 1:
            return self.biased(ops.matmul(features, ops.reshape(self.kernel, (-1, self.filters))))
        return self.biased(gathers.submanifold(features, value_of(self.kernel), neighbours))

    def biased(self, x):
        """x plus the bias, if there is one."""
        return x + self.bias if self.use_bias else x

    def compute_output_shape(self, features_shape):
        return (features_shape[0], self.filters)

    def get_config(self):
        regularizer = keras.regularizers.serialize(self.kernel_regularizer)
        options = {"filters": self.filters, "size": self.size, "use_bias": self.use_bias}
        return {**super().get_config(), **options, "kernel_regularizer": regularizer}


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class JoiningConv(SubmanifoldConv):
    """A convolution of size 1 of two features [n, ...] side by side, which are not copied to be joined."""

    def build(self, features_shape, other_shape):
        super().build((features_shape[0], features_shape[1] + other_shape[1]))

    def call(self, features, other):
        """[n, filters]."""
        kernel = ops.reshape(self.kernel, (-1, self.filters))
        one, two = ops.split(kernel, [features.shape[1]])
        return self.biased(ops.matmul(features, one) + ops.matmul(other, two))

    def compute_output_shape(self, features_shape, other_shape):
        return (features_shape[0], self.filters)


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class StridedConv(SubmanifoldConv):
    """A convolution of size and stride 2, to the next level. Call with features, children, parents."""

    def call(self, features, children, parents):
        """[m, filters] at the coarse level."""
        kernel = ops.reshape(self.kernel, (4, features.shape[1], self.filters))
        return self.biased(gathers.strided(features, kernel, children, parents))

    def compute_output_shape(self, features_shape, children_shape):
        return (children_shape[0], self.filters)


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class TransposedConv(SubmanifoldConv):
    """A transposed convolution of size and stride 2, from the next level. Call with features, parents, children.

    Weights: kernel [2, 2, filters, in], as a Conv2DTranspose has it; bias [filters].
    """

    def kernel_shape(self, channels: int) -> tuple[int, ...]:
        """That of the dense counterpart."""
        return (self.size, self.size, self.filters, channels)

    def call(self, features, parents, children):
        """[n, filters] at the fine level."""
        kernel = ops.reshape(self.kernel, (4, self.filters, features.shape[1]))
        return self.biased(gathers.transposed(features, ops.transpose(kernel, (0, 2, 1)), children, parents))

    def compute_output_shape(self, features_shape, parents_shape):
        return (parents_shape[0], self.filters)


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class RepeatedConv(SubmanifoldConv):
    """Interpolation to the nearest pixel and a 1x1 convolution, at the sites of the finer level.

    The two commute, so the product runs over the fewer, coarse sites. Call with features, parents, children.
    """

    def call(self, features, parents, children):
        """[n, filters] at the fine level."""
        return gathers.repeat(super().call(features), children, parents)

    def compute_output_shape(self, features_shape, parents_shape):
        return (parents_shape[0], self.filters)


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SparseMaxPooling(keras.layers.Layer):
    """The maximum over the active pixels of each 2x2 block. Call with features, children, parents."""

    def call(self, features, children, parents):
        """[m, channels] at the coarse level."""
        return gathers.max_pool(features, children, parents)

    def compute_output_shape(self, features_shape, children_shape):
        return (children_shape[0], features_shape[1])


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class RowMaxima(keras.layers.Layer):
    """The greatest value in each row of each image. Call with features, rows and a row for each deepest pixel.

    Args:
        height: rows of an image at this level.
        cells: pixels of an image at the deepest level.
    """

    def __init__(self, height: int, cells: int, **kwargs):
        super().__init__(**kwargs)
        self.height, self.cells = height, cells

    def call(self, features, rows, deepest):
        """[images, height, channels]."""
        number = ops.shape(deepest)[0] // self.cells * self.height
        maxima = gathers.row_max(features, ops.where(rows < 0, number, rows), number)
        return ops.reshape(maxima, (-1, self.height, features.shape[1]))

    def compute_output_shape(self, features_shape, rows_shape, deepest_shape):
        return (None, self.height, features_shape[1])

    def get_config(self):
        return {**super().get_config(), "height": self.height, "cells": self.cells}


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class RowSpreading(keras.layers.Layer):
    """Gives each site the channels of its row. Call with [images, height, channels] and rows."""

    def call(self, features, rows):
        """[n, channels]."""
        flat = ops.reshape(features, (-1, features.shape[2]))
        return gathers.gather(flat, ops.where(rows < 0, ops.shape(flat)[0], rows)[:, None])

    def compute_output_shape(self, features_shape, rows_shape):
        return (rows_shape[0], features_shape[2])


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SitesToImages(keras.layers.Layer):
    """Features of sites as images, 0 at pixels that are no site.

    Call with features [n, channels] and the rulebook's children, from those of the deepest level down to those that
    are the sites themselves.

    Args:
        height, width: of the deepest level's images.
    """

    def __init__(self, height: int, width: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.height, self.width = height, width

    def call(self, features, *children):
        """[images, rows, columns, channels]."""
        sites = children[0]
        for table, finer in pairwise([*children[1:], features]):
            # An absent site has absent children.
            absent = ops.full((1, 4), ops.shape(finer)[0], dtype="int32")
            sites = take_rows(ops.concatenate([table, absent]), ops.reshape(sites, (-1,)))
        x = gathers.gather(features, ops.reshape(sites, (-1, 1)))
        # Four by four pixels stand side by side: they become squares, the smallest first, and then images.
        side, channels = 1, features.shape[1]
        for _ in children:
            x = squares(ops.reshape(x, (-1, 2, 2, side, side, channels)))
            side *= 2
        return squares(ops.reshape(x, (-1, self.height, self.width, side, side, channels)))

    def compute_output_spec(self, features, *children):
        size = 2 ** len(children)
        return keras.KerasTensor((None, self.height * size, self.width * size, features.shape[1]), features.dtype)

    def get_config(self):
        return {**super().get_config(), "height": self.height, "width": self.width}


def squares(x):
    """Squares in rows and columns [n, rows, columns, side, side, channels] as n images of them side by side."""
    _, rows, columns, side, _, channels = x.shape
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows * side, columns * side, channels))
