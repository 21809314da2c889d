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
        self.over_processes, self.processes = _unchanged, 1

    def call(self, inputs, active=None, training=False):
        """[batch * planes, ...] of the inputs' shape and dtype; `active` has one channel."""
        # A frozen layer (trainable=False) uses its moving statistics, and keeps them.
        training = training and self.trainable
        planes = self.planes if training else 1
        channels = self.axis % len(inputs.shape)
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        x = ops.reshape(x, (-1, planes, *inputs.shape[1:]))
        axes = [a for a in range(len(x.shape)) if a not in (1, channels + 1)]
        shape = [1] * len(x.shape)
        shape[channels + 1] = inputs.shape[channels]
        if training:
            mean_over, pixels = self._averaging(x, active, axes)
            mean = mean_over(x)
            variance = mean_over(ops.square(x - mean))
            self._move(mean, variance, pixels)
        else:
            mean, variance = ops.reshape(self.moving_mean, shape), ops.reshape(self.moving_variance, shape)
        scale = ops.rsqrt(variance + self.epsilon) * ops.reshape(self.gamma, shape)
        # x - mean first: beta - mean * scale would cancel where a channel is nearly constant.
        normalised = (x - mean) * scale + ops.reshape(self.beta, shape)
        return ops.cast(ops.reshape(normalised, (-1, *inputs.shape[1:])), inputs.dtype)

    def synchronise(self, mean, processes: int):
        """From now on takes the statistics over the parts of a batch that several processes hold, equal in size.

        Args:
            mean: gives a tensor's mean over the processes, and can be differentiated.
            processes: their number.
        """
        self.over_processes, self.processes = mean, processes

    def _averaging(self, x, active, axes):
        # What takes the mean over the axes, and over how many pixels of a plane: a number, or [1, planes, 1, ...].
        size = self.processes * elements(x, axes)
        if active is None:
            return lambda values: self.over_processes(_accurate_mean(values, axes)), size
        active = ops.cast(ops.reshape(active, (-1, x.shape[1], *active.shape[1:])), x.dtype)
        share = self.over_processes(_accurate_mean(active, axes))
        divisor = ops.where(share > 0, share, 1.0)
        return lambda values: self.over_processes(_accurate_mean(values * active, axes)) / divisor, share * size

    def _move(self, mean, variance, pixels):
        mean, variance = ops.reshape(mean, (self.planes, -1)), ops.reshape(variance, (self.planes, -1))
        pixels = ops.broadcast_to(ops.reshape(pixels, (-1, 1)), (self.planes, 1))
        if self.bessel:
            variance = variance * (pixels / ops.maximum(pixels - 1.0, 1.0))
        step = (1.0 - self.momentum) * ops.minimum(pixels, 1.0)
        moving_mean, moving_variance = self.moving_mean.value, self.moving_variance.value
        for plane in range(self.planes):
            moving_mean = moving_mean + step[plane] * (mean[plane] - moving_mean)
            moving_variance = moving_variance + step[plane] * (variance[plane] - moving_variance)
        self.moving_mean.assign(moving_mean)
        self.moving_variance.assign(moving_variance)

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


def _unchanged(statistic):
    return statistic


def elements(x, axes):
    """How many elements x has along some axes, in x's dtype, a float: in int32 the product is wrong from 2**31 on."""
    return math.prod(ops.cast(ops.shape(x)[axis], x.dtype) for axis in axes)


def _accurate_mean(x, axes):
    # In two stages, rows first: adding 100,000 float32 values one after the other loses three digits. Not ops.mean,
    # whose gradient in TensorFlow counts in int32 where the batch is of open size.
    rows = ops.sum(x, axis=axes[-1], keepdims=True) / elements(x, axes[-1:])
    return ops.sum(rows, axis=axes[:-1], keepdims=True) / elements(rows, axes[:-1])
