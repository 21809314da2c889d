"""Batch normalisation over planes that are folded into the batch."""

import math

import keras
from keras import ops

from cosmictagger_tf.errors import ConfigError


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class PlaneBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation of [batch * planes, height, width, channels], plane by plane or pooled.

    With planes = P > 1 each plane is normalised by its own batch statistics, and the moving statistics get one update
    a plane, in order: what a layer shared by P calls in a row does (the reference's 2D networks). With planes = 1 the
    statistics are pooled over everything (the reference's 3D networks). Statistics are computed in float32 at least.
    Call with a mask beside the inputs, 1 or 0 for each pixel, and they are those of the pixels where it is 1; where
    there is none of these, nothing is updated.

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
        weights = self.gamma, self.beta, self.moving_mean, self.moving_variance
        if training:
            y, mean, variance = by_batch_statistics(
                x,
                *weights,
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
            y = by_moving_statistics(x, *weights, channels=channels, epsilon=self.epsilon)
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
    """x normalised by given statistics [channels]; `channels` is the axis of x that they belong to."""
    shape = [-1 if axis == channels else 1 for axis in range(len(x.shape))]
    gamma, beta, mean, variance = (ops.reshape(v, shape) for v in (gamma, beta, mean, variance))
    # x - mean first: beta - mean * scale would cancel where a channel is nearly constant.
    return (x - mean) * (ops.rsqrt(variance + epsilon) * gamma) + beta


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
    shape = [-1 if axis == channels else 1 for axis in range(len(x.shape))]
    # Over how many pixels of a plane the means are taken: a number, or [1, planes, 1, ...].
    pixels = processes * elements(x, axes)
    if active is None:
        mean = over_processes(_accurate_mean(x, axes))
        variance = over_processes(_accurate_mean(ops.square(x - mean), axes))
    else:
        active = ops.cast(ops.reshape(active, (-1, x.shape[1], *active.shape[1:])), x.dtype)
        share = over_processes(_accurate_mean(active, axes))
        divisor = ops.where(share > 0, share, 1.0)
        mean = over_processes(_accurate_mean(x * active, axes)) / divisor
        variance = over_processes(_accurate_mean(ops.square(x - mean) * active, axes)) / divisor
        pixels = share * pixels
    y = (x - mean) * (ops.rsqrt(variance + epsilon) * ops.reshape(gamma, shape)) + ops.reshape(beta, shape)
    mean, variance = (ops.reshape(each, (x.shape[1], -1)) for each in (mean, variance))
    pixels = ops.broadcast_to(ops.reshape(pixels, (-1, 1)), (x.shape[1], 1))
    return y, *moved(moving_mean, moving_variance, mean, variance, pixels, momentum=momentum, bessel=bessel)


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
