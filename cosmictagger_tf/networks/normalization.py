"""Batch normalisation over planes that are folded into the batch, and its arithmetic for dense and sparse networks."""

import math

import keras
from keras import ops

from cosmictagger_tf.backend import upstream_of, value_of, zero_after
from cosmictagger_tf.errors import ConfigError


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class PlaneBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation of [batch * planes, height, width, channels], plane by plane or pooled.

    With planes = P > 1 each plane is normalised by its own batch statistics, and the moving statistics get one update
    a plane, in order: what a layer shared by P calls in a row does (the reference's 2D networks). With planes = 1 the
    statistics are pooled over everything (the reference's 3D networks). Statistics are computed in float32 at least.
    Call with a mask beside the inputs, 1 or 0 for each pixel, and they are those of the pixels where it is 1; where
    there is none of these, nothing is updated. What comes out where the mask is 0 is to be left out of everything.

    Args:
        planes: how many planes are folded into the batch, the fastest-running index of the folded axis.
        bessel: the moving variance takes the unbiased estimate, n / (n - 1) times the biased one, as PyTorch's does.
        axis, momentum, epsilon: as in keras.layers.BatchNormalization; axis is that of the channels.
    """

    def __init__(self, planes: int = 1, bessel: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.planes, self.bessel = planes, bessel
        self.over_processes, self.processes = unchanged, 1

    def call(self, inputs, active=None, training=False):
        """[batch * planes, ...] of the inputs' shape and dtype; `active` has one channel."""
        # A frozen layer (trainable=False) uses its moving statistics, and keeps them.
        training = training and self.trainable
        planes, channels = self.planes if training else 1, self.axis % len(inputs.shape) + 1
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        x = ops.reshape(x, (-1, planes, *inputs.shape[1:]))
        gamma, beta = value_of(self.gamma), value_of(self.beta)
        moving = value_of(self.moving_mean), value_of(self.moving_variance)
        if training:
            y, mean, variance = by_batch_statistics(
                x,
                gamma,
                beta,
                *moving,
                active,
                channels=channels,
                momentum=self.momentum,
                epsilon=self.epsilon,
                bessel=self.bessel,
                over_processes=self.over_processes,
                processes=self.processes,
            )
            self.moving_mean.assign(mean)
            self.moving_variance.assign(variance)
        else:
            y = by_moving_statistics(x, gamma, beta, *moving, channels=channels, epsilon=self.epsilon)
        return ops.cast(ops.reshape(y, (-1, *inputs.shape[1:])), inputs.dtype)

    def synchronise(self, mean, processes: int):
        """From now on takes the statistics over the parts of a batch that several processes hold, equal in size.

        Args:
            mean: gives a tensor's mean over the processes, and can be differentiated.
            processes: their number.
        """
        self.over_processes, self.processes = mean, processes

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "planes": self.planes, "bessel": self.bessel}


def synchronise_statistics(network: keras.Model, mean, processes: int):
    """Has every batch normalisation of a network take its statistics over several processes; see synchronise.

    Raises:
        ConfigError: the network has none that can.
    """
    layers = [layer for layer in network._flatten_layers() if isinstance(layer, PlaneBatchNormalization)]
    if not layers:
        raise ConfigError("--sync_batch_norm: only --normalization=batch with --conv_mode=2D or 3D has what it joins")
    for layer in layers:
        layer.synchronise(mean, processes)
    # What each layer exchanges has a name of its own.
    network.shares = False


def unchanged(statistic):
    """What replaces the mean over the processes where there is one."""
    return statistic


def by_moving_statistics(x, gamma, beta, mean, variance, *, channels: int, epsilon: float):
    """x [batch, planes, ...] normalised by given statistics [channels] of its axis `channels`."""
    layout = _Layout(x.shape, channels)
    gamma, beta, mean, variance = (ops.reshape(v, (1, -1)) for v in (gamma, beta, mean, variance))
    # x - mean first: beta - mean * scale would cancel where a channel is nearly constant.
    centred = layout.packed(x) - layout.spread(mean)
    return layout.unpacked(centred * layout.spread(ops.rsqrt(variance + epsilon) * gamma) + layout.spread(beta))


def by_batch_statistics(
    x,
    gamma,
    beta,
    moving_mean,
    moving_variance,
    active=None,
    *,
    channels: int,
    momentum: float,
    epsilon: float,
    bessel: bool,
    over_processes=unchanged,
    processes: int = 1,
):
    """Batch normalisation plane by plane, and the moving statistics after one update a plane.

    Args:
        x: float [batch, planes, ...].
        gamma, beta, moving_mean, moving_variance: [channels].
        active: None, or [batch * planes, ...] with one channel, 1 where a pixel counts and 0 elsewhere.
        channels: the axis of x that has them.
        momentum, epsilon, bessel: see PlaneBatchNormalization.
        over_processes, processes: see PlaneBatchNormalization.synchronise.

    Returns:
        The normalised x, the moving mean and variance.
    """
    axes = [axis for axis in range(len(x.shape)) if axis not in (1, channels)]
    layout, planes = _Layout(x.shape, channels, packs=active is None), x.shape[1]
    pixels, members, divisor = ops.broadcast_to(elements(x, axes), (planes, 1)), None, 1.0
    if active is not None:
        members = ops.cast(ops.reshape(active, (-1, planes, *active.shape[1:])), x.dtype)
        share = ops.reshape(over_processes(_accurate_mean(members, axes)), (planes, 1))
        pixels, divisor = share * pixels, ops.where(share > 0, share, 1.0)

    def mean_of(values):
        values = layout.unpacked(values if members is None else values * members)
        return ops.reshape(over_processes(_accurate_mean(values, axes)), (planes, -1)) / divisor

    y, mean, variance = normalise(
        layout.packed(x), gamma, beta, mean_of, layout.spread, pixels, members, epsilon=epsilon
    )
    moving = moved(moving_mean, moving_variance, mean, variance, processes * pixels, momentum=momentum, bessel=bessel)
    return layout.unpacked(y), *moving


class _Layout:
    """How [batch, planes, ...] is laid out for arithmetic with statistics [planes, channels].

    Where the channels are the last axis, a row's pixels and channels become one: TensorFlow is slow on a CPU where it
    broadcasts along an axis as short as the channels.
    """

    def __init__(self, shape, channels: int, packs: bool = True):
        self.shape, self.channels = shape, channels
        self.packs = packs and len(shape) > 3 and channels == len(shape) - 1

    def packed(self, x):
        """What the arithmetic takes."""
        return ops.reshape(x, (-1, *x.shape[1:-2], math.prod(x.shape[-2:]))) if self.packs else x

    def unpacked(self, x):
        """The axes as they were."""
        return ops.reshape(x, (-1, *self.shape[1:])) if self.packs else x

    def spread(self, statistics):
        """[planes, channels], or of one plane, with the axes of what is packed."""
        if self.packs:
            statistics = ops.tile(statistics, (1, self.shape[-2]))
            return ops.reshape(statistics, (1, statistics.shape[0], *[1] * (len(self.shape) - 4), statistics.shape[1]))
        ones = [1] * len(self.shape)
        ones[1], ones[self.channels] = statistics.shape
        return ops.reshape(statistics, ones)


def normalise(x, gamma, beta, mean_of, spread, size, members=None, *, epsilon: float, slope: float = 1.0):
    """Batch normalisation by the statistics of groups of values, and a leaky ReLU.

    Its gradient is written out (S. Ioffe, C. Szegedy, arXiv:1502.03167, section 3): plain differentiation keeps every
    step on the way, and goes through memory more often. Kept are the centred input and the output.

    Args:
        x: float32 at least, of any shape.
        gamma, beta: [channels].
        mean_of: gives the groups' means [groups, channels] of what has x's shape.
        spread: gives each value of x its group's one of [groups, channels], or all values those of [1, channels], as
            what broadcasts against x.
        size: [groups, 1], how many values each channel of a group has in this process.
        members: None, or 1 where a value is one of its group's and 0 elsewhere, as what broadcasts against x.
        epsilon, slope: constants; a slope of 1 leaves the ReLU out.

    Returns:
        y of x's shape, and each group's mean and variance [groups, channels].
    """
    # Constants: what they owe to x is in the gradient below.
    mean = ops.stop_gradient(mean_of(x))
    centred = ops.stop_gradient(x - spread(mean))
    variance = ops.stop_gradient(mean_of(ops.square(centred)))
    deviation = ops.rsqrt(variance + epsilon)

    @ops.custom_gradient
    def normalised(x, gamma, beta):
        y = leaky(centred * spread(deviation * gamma) + spread(ops.reshape(beta, (1, -1))), slope)

        def gradient(*args, upstream=None):
            dy = leaky_gradient(upstream_of(args, upstream), y, slope)
            mean_dy, mean_product = mean_of(dy), mean_of(dy * centred)
            scale = deviation * gamma
            # What the statistics' own dependence on x takes away, from the values that they are made of.
            taken = centred * spread(scale * ops.square(deviation) * mean_product) + spread(scale * mean_dy)
            dx = dy * spread(scale) - (taken if members is None else taken * members)
            return dx, ops.sum(size * deviation * mean_product, axis=0), ops.sum(size * mean_dy, axis=0)

        return y, gradient

    return normalised(x, gamma, beta), mean, variance


def leaky(x, slope: float):
    """The leaky ReLU; a slope of 1 is none."""
    return x if slope == 1 else ops.leaky_relu(x, slope)


def leaky_gradient(dy, y, slope: float):
    """The gradient of a leaky ReLU's input, from that of its output and the output."""
    return dy if slope == 1 else ops.where(y > zero_after(dy), dy, slope * dy)


def moved(moving_mean, moving_variance, mean, variance, size, *, momentum: float, bessel: bool):
    """The moving statistics [channels] after one update by those of each group [groups, channels], in order.

    Args:
        size: float [groups, 1], how many values a group has; where it has none, nothing moves.
        momentum, bessel: see PlaneBatchNormalization.
    """
    if bessel:
        variance = variance * (size / ops.maximum(size - 1.0, 1.0))
    step = (1.0 - momentum) * ops.minimum(size, 1.0)
    for by, m, v in zip(*map(ops.unstack, (step, mean, variance)), strict=True):
        moving_mean = moving_mean + by * (m - moving_mean)
        moving_variance = moving_variance + by * (v - moving_variance)
    return moving_mean, moving_variance


def elements(x, axes):
    """How many elements x has along some axes, in x's dtype, a float: in int32 the product is wrong from 2**31 on."""
    return math.prod(ops.cast(ops.shape(x)[axis], x.dtype) for axis in axes)


def _accurate_mean(x, axes):
    # In two stages, rows first: adding 100,000 float32 values one after the other loses three digits. Not ops.mean,
    # whose gradient in TensorFlow counts in int32 where the batch is of open size.
    rows = ops.sum(x, axis=axes[-1], keepdims=True) / elements(x, axes[-1:])
    return ops.sum(rows, axis=axes[:-1], keepdims=True) / elements(rows, axes[:-1])
