"""The parts of the UResNet, written once for 2D and 3D.

Inside the network the planes are folded into the batch: [batch * planes, height, width, channels], because they share
weights. A 3D convolution with a [1, k, k] kernel is then the same computation as a 2D one with [k, k].
"""

import math
from copy import copy
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import N_CLASSES
from cosmictagger_tf.networks.convolutions import Conv2D, Conv2DTranspose, add_bias
from cosmictagger_tf.networks.interpolation import Doubling
from cosmictagger_tf.networks.normalization import PlaneBatchNormalization
from cosmictagger_tf.networks.pooling import BELOW_ALL, ImageAttention, ImageTotals, JoinedLogits
from cosmictagger_tf.networks.segments import RecomputingModel, SegmentedModel

# Sizes of the kernels of the first convolution and of a block's.
FIRST_KERNEL, BLOCK_KERNEL = 5, 3
# Rows that a row learns from in an exchange: itself and two on either side.
ROW_KERNEL = 5
# Where empty pixels are background with certainty: in float32 a softmax of these is exactly (1, 0, 0) to rounding.
EMPTY_LOGITS = (30.0, 0.0, 0.0)


class Wiring(NamedTuple):
    """In what the reference's two implementations differ (read in their sources).

    Attributes:
        slope: of the leaky ReLU for negative values.
        epsilon, momentum: of batch normalisation, momentum by Keras's convention.
        bessel: the moving variance is unbiased.
        skip_before_blocks: the skip connection is taken before a level's down blocks, and joined before its up blocks.
    """

    slope: float
    epsilon: float
    momentum: float
    bessel: bool
    skip_before_blocks: bool

    @property
    def batch_norm(self) -> dict[str, Any]:
        """Arguments of the batch-norm layers."""
        return {"epsilon": self.epsilon, "momentum": self.momentum, "bessel": self.bessel}


WIRINGS = {
    "pytorch": Wiring(slope=0.01, epsilon=1e-5, momentum=0.9, bessel=True, skip_before_blocks=True),
    "tensorflow": Wiring(slope=0.2, epsilon=1e-3, momentum=0.99, bessel=False, skip_before_blocks=False),
}


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class PlanewiseConv3D(layers.Conv3D):
    """A [1, k, k] convolution of folded planes [batch * planes, height, width, channels].

    Its kernel is a Conv3D's, [1, k, k, in, out]; with a depth of 1 it mixes no planes, and a 2D convolution of the
    folded planes computes the same, faster.
    """

    def __init__(self, filters, kernel_size, strides=1, **kwargs):
        size = (1, kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        steps = (1, strides, strides) if isinstance(strides, int) else tuple(strides)
        super().__init__(filters, size, strides=steps, **kwargs)
        self.input_spec = None

    def build(self, input_shape):
        super().build((input_shape[0], 1, *input_shape[1:]) if self._last else (*input_shape[:2], 1, *input_shape[2:]))
        self.input_spec = None

    @property
    def _last(self):
        return self.data_format == "channels_last"

    def call(self, inputs):
        """The folded planes, convolved."""
        options = {"strides": self.strides[1:], "padding": self.padding, "data_format": self.data_format}
        return add_bias(self, ops.conv(inputs, self.kernel[0], **options))

    def compute_output_shape(self, input_shape):
        size = [
            None if n is None else -(-n // s) for n, s in zip(self._spatial(input_shape), self.strides[1:], strict=True)
        ]
        return (input_shape[0], *size, self.filters) if self._last else (input_shape[0], self.filters, *size)

    def _spatial(self, shape):
        return shape[1:3] if self._last else shape[2:4]


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class HalvingMaxPool(layers.Layer):
    """Max-pooling of 2x2 blocks of folded planes, whose gradient goes to the first of equal pixels, row by row.

    Most of an image is empty, and equal there; which of the equals takes the gradient is what makes the training of
    two implementations comparable. PyTorch takes the first; TensorFlow's own pooling does not always.
    """

    def __init__(self, data_format: str = "channels_last", **kwargs):
        super().__init__(**kwargs)
        self.data_format = data_format

    def call(self, x, active=None):
        """[batch * planes, height / 2, width / 2, channels], or channels first; with a mask `active` of x's pixels the
        maximum of those where it is 1, and 0 where there is none."""
        if active is not None:
            x = ops.where(active > 0, x, BELOW_ALL)
        rows = 1 if self.data_format == "channels_last" else 2
        shape = [-1, *x.shape[1:]]
        blocks = ops.reshape(x, [*shape[:rows], shape[rows] // 2, 2, shape[rows + 1] // 2, 2, *shape[rows + 2 :]])
        corners = [
            ops.squeeze(part, (rows + 1, rows + 3))
            for half in ops.split(blocks, 2, axis=rows + 1)
            for part in ops.split(half, 2, axis=rows + 3)
        ]
        top, bottom = (ops.where(right > left, right, left) for left, right in (corners[:2], corners[2:]))
        greatest = ops.where(bottom > top, bottom, top)
        return greatest if active is None else ops.where(greatest > BELOW_ALL, greatest, 0)

    def get_config(self):
        return {**super().get_config(), "data_format": self.data_format}


class Parts:
    """Makes the layers of one level of a network; its methods take a folded tensor and return one.

    Args:
        config: the architecture.
        planes: folded into the batch.
        coarser: the Parts of the next level; None at the deepest.

    Attributes:
        depth: how many times the level's images are halved.
        active: None, or a mask of the level's pixels: 1 where they take part, 0 where they are and stay empty.
        kept: the ends of blocks and levels, of all levels, which cut the network into segments; see segments.py.
        decoded: what comes out of the level on the way up, once it is made; a kept tensor, or rearranged from one.
    """

    def __init__(self, config: NetworkConfig, planes: int, coarser: "Parts | None" = None):
        self.config, self.planes = config, planes
        self.coarser: Any = coarser
        self.active: Any = None
        self.decoded: Any = None
        self.depth: int = config.network_depth if coarser is None else coarser.depth - 1
        self.kept: list = [] if coarser is None else coarser.kept
        self.wiring = WIRINGS[config.wiring]
        self.channels = -1 if config.data_format == "channels_last" else 1
        # The reference's PyTorch 3D network interpolates to the nearest pixel and joins as its TensorFlow networks do
        # (seen in its outputs: tests/parity).
        self.interpolation = "bilinear" if config.conv_mode == "2D" else "nearest"
        self.skip_before_blocks = self.wiring.skip_before_blocks and config.conv_mode == "2D"
        statistics = config.norm_statistics
        if statistics == "auto":
            statistics = "per_plane" if config.conv_mode == "2D" else "pooled"
        self.statistics_planes = planes if statistics == "per_plane" else 1

    @property
    def levels(self) -> "list[Parts]":
        """The Parts of this level and of all coarser ones, finest first."""
        return [self, *(self.coarser.levels if self.coarser else ())]

    def with_joined_planes(self) -> "Parts":
        """These Parts for images whose planes are side by side as channels."""
        joined = copy(self)
        joined.planes = joined.statistics_planes = 1
        return joined

    def join_planes(self, x):
        """Folded planes side by side as channels: those of plane 0, of plane 1, ...; [batch, height, width, ...]."""
        x = unfold(x, self.planes)
        if self.channels == 1:
            return ops.reshape(x, (-1, self.planes * x.shape[2], *x.shape[3:]))
        x = ops.transpose(x, (0, 2, 3, 1, 4))
        return ops.reshape(x, (-1, *x.shape[1:3], self.planes * x.shape[4]))

    def part_planes(self, x):
        """What join_planes joined, folded again."""
        if self.channels == 1:
            return fold(ops.reshape(x, (-1, self.planes, x.shape[1] // self.planes, *x.shape[2:])))
        x = ops.reshape(x, (-1, *x.shape[1:3], self.planes, x.shape[3] // self.planes))
        return fold(ops.transpose(x, (0, 3, 1, 2, 4)))

    def channels_last(self, x):
        """Images of whatever data format as [images, height, width, channels]."""
        return x if self.channels == -1 else ops.transpose(x, (0, 2, 3, 1))

    def conv(self, x, filters, kernel, name, **kwargs):
        """A convolution, padded to keep the size at stride 1."""
        layer = Conv2D if self.config.conv_mode == "2D" else PlanewiseConv3D
        return layer(filters, kernel, name=name, **self.conv_options(), **kwargs)(x)

    def weight_options(self):
        """What the weights of every convolution have in common."""
        decay = self.config.weight_decay
        return {"use_bias": self.config.bias, "kernel_regularizer": keras.regularizers.L2(decay) if decay else None}

    def conv_options(self):
        """What every dense convolution has in common."""
        return {**self.weight_options(), "padding": "same", "data_format": self.config.data_format}

    def only_active(self, x, name):
        """x, 0 where no pixel is active."""
        return x

    def normalise(self, x, name):
        """The chosen normalisation."""
        kind, filters = self.config.normalization, x.shape[self.channels]
        if kind == "batch":
            options = {"planes": self.statistics_planes, "axis": self.channels, "name": name}
            x = PlaneBatchNormalization(**options, **self.wiring.batch_norm)(x, self.active)
        elif kind == "layer":
            x = layers.LayerNormalization(axis=self.channels, epsilon=self.wiring.epsilon, name=name)(x)
        elif kind in ("group", "instance"):
            groups = -1 if kind == "instance" else math.gcd(8, filters)
            x = layers.GroupNormalization(groups, axis=self.channels, epsilon=self.wiring.epsilon, name=name)(x)
        return self.only_active(x, name)

    def activate(self, x, name):
        """Leaky ReLU."""
        return layers.LeakyReLU(negative_slope=self.wiring.slope, name=name)(x)

    def finish(self, x, name, activation=True):
        """What follows a convolution: normalisation and, by default, leaky ReLU."""
        x = self.normalise(x, f"{name}_norm")
        return self.activate(x, f"{name}_relu") if activation else x

    def unit(self, x, filters, kernel, name, activation=True):
        """Convolution, normalisation and, by default, leaky ReLU."""
        return self.finish(self.conv(x, filters, kernel, f"{name}_conv"), name, activation)

    def block(self, x, kernel, name):
        """One unit, or two with a shortcut around them; keeps the number of filters."""
        filters = x.shape[self.channels]
        if not self.config.residual:
            return self.unit(x, filters, kernel, name)
        y = self.unit(x, filters, kernel, f"{name}_1")
        y = self.unit(y, filters, kernel, f"{name}_2", activation=False)
        return self.activate_sum(y, x, name)

    def activate_sum(self, x, y, name):
        """Leaky ReLU of the sum of two."""
        return self.activate(self.add(x, y, f"{name}_add"), f"{name}_relu")

    def add(self, x, y, name):
        """The sum of two."""
        return layers.Add(name=name)([x, y])

    def blocks(self, x, count, kernel, name):
        """Several blocks in a row."""
        for i in range(count):
            x = self.keep(self.block(x, kernel, f"{name}_{i}"))
        return x

    def exchange(self, x, name):
        """A residual block in which a pixel learns what lies in its row, and those beside it, on all planes."""
        filters = x.shape[self.channels]
        y = self.unit(x, filters, 1, f"{name}_1")
        y = self.spread_rows(self.mix_rows(self.row_maxima(y, name), name), y, name)
        y = self.only_active(y, f"{name}_spread")
        y = self.unit(y, filters, 1, f"{name}_2", activation=False)
        return self.activate_sum(y, x, name)

    def mix_rows(self, rows, name):
        """A convolution along the rows of all planes side by side: [batch * planes, height, channels] -> the same."""
        _, height, filters = rows.shape
        x = ops.transpose(unfold(rows, self.planes), (0, 2, 1, 3))
        x = ops.reshape(x, (-1, height, self.planes * filters))
        options = {**self.conv_options(), "data_format": "channels_last"}
        x = layers.Conv1D(x.shape[-1], ROW_KERNEL, name=f"{name}_rows", **options)(x)
        x = layers.LeakyReLU(negative_slope=self.wiring.slope, name=f"{name}_rows_relu")(x)
        return fold(ops.transpose(ops.reshape(x, (-1, height, self.planes, filters)), (0, 2, 1, 3)))

    def row_maxima(self, x, name):
        """The greatest value in each row, channel by channel: [batch * planes, height, channels]."""
        if self.channels == -1:
            return ops.max(x, axis=2)
        return ops.transpose(ops.max(x, axis=3), (0, 2, 1))

    def spread_rows(self, rows, like, name):
        """Every pixel of a row gets the row's channels: [batch * planes, height, channels] -> the shape of `like`."""
        if self.channels == -1:
            return ops.repeat(ops.expand_dims(rows, 2), like.shape[2], axis=2)
        return ops.repeat(ops.expand_dims(ops.transpose(rows, (0, 2, 1)), 3), like.shape[3], axis=3)

    def keep(self, x):
        """x, noted as one of the kept tensors."""
        self.kept.append(x)
        return x

    def down(self, x, filters, name):
        """To the next level: half the size, other filters."""
        if self.config.downsampling == "convolutional":
            return self.coarser.finish(self.strided(x, filters, f"{name}_conv"), name)
        return self.coarser.unit(self.pooled(x, f"{name}_pool"), filters, 1, name)

    def strided(self, x, filters, name):
        """A convolution of size and stride 2."""
        return self.conv(x, filters, 2, name, strides=2)

    def pooled(self, x, name):
        """The maximum of each 2x2 block."""
        return HalvingMaxPool(self.config.data_format, name=name)(x, self.active)

    def up(self, x, filters, name):
        """From the next level: twice the size, other filters."""
        if self.config.upsampling == "convolutional":
            x = Conv2DTranspose(filters, 2, strides=2, name=f"{name}_conv", **self.conv_options())(x)
        else:
            # Interpolation and a 1x1 convolution commute: this way round both run on fewer numbers.
            x = self.coarser.only_active(self.conv(x, filters, 1, f"{name}_conv"), f"{name}_conv")
            x = Doubling(self.interpolation, self.config.data_format, name=f"{name}_interpolation")(x)
        return self.finish(x, name)

    def connect(self, x, skip, name):
        """Joins the way up with the way down; `none` keeps the way up."""
        if self.config.connections == "sum":
            return self.add(x, skip, f"{name}_sum")
        if self.config.connections == "concat":
            filters = x.shape[self.channels]
            x = layers.Concatenate(axis=self.channels, name=f"{name}_concat")([x, skip])
            return self.unit(x, filters, 1, name)
        return x

    def logits(self, x):
        """Those of the pixels."""
        return self.last_conv(x, N_CLASSES, "logits")

    def last_conv(self, x, filters, name):
        """The convolution before an output, which is never in half precision."""
        return self.conv(x, filters, 1, name, dtype=self.output_dtype)

    @property
    def output_dtype(self) -> str:
        """That of the network's outputs."""
        return keras.backend.result_type(keras.config.dtype_policy().compute_dtype, "float32")

    def channel(self, x, i: int):
        """One of the channels, as an axis of size 1."""
        return x[..., i : i + 1] if self.channels == -1 else x[:, i : i + 1]

    def to_images(self, x, name):
        """Features of the level as images, 0 where there are none: [batch * planes, height, width, channels]."""
        return self.channels_last(self.only_active(x, name))

    def attend(self, x, scores, name):
        """The mean over an image's pixels, weighted by the softmax of each of H scores: [images, H * channels]."""
        return ImageAttention(name=name)(*map(self.channels_last, (x, scores, self.everywhere(x))))

    def totals(self, x, name):
        """Of an image how many pixels there are, and sum and maximum of x >= 0, of one channel: [images, 3]."""
        return ImageTotals(name=name)(*map(self.channels_last, (x, self.everywhere(x))))

    def everywhere(self, x):
        """The mask of the pixels that take part, as an image of one channel."""
        if self.active is not None:
            return self.active
        return ops.ones_like(x[..., :1] if self.channels == -1 else x[:, :1])

    def joined(self, logits, event):
        """Logits of pixels as far as their readout has a neutrino, by its class's logits [batch, classes]."""
        event = ops.repeat(event, self.planes, axis=0)[:, None, None]
        joined = JoinedLogits(name="joined")(self.channels_last(logits), event)
        return joined if self.channels == -1 else ops.transpose(joined, (0, 3, 1, 2))

    def model(self, inputs, outputs, name) -> keras.Model:
        """The functional model of a network made of these parts; with --remat it recomputes activations."""
        kind = RecomputingModel if self.config.remat else SegmentedModel
        return kind(inputs, outputs, self.kept, name=name)


def fold(x):
    """[batch, planes, ...] -> [batch * planes, ...]."""
    return ops.reshape(x, (-1, *x.shape[2:]))


def unfold(x, planes: int):
    """[batch * planes, ...] -> [batch, planes, ...]."""
    return ops.reshape(x, (-1, planes, *x.shape[1:]))
