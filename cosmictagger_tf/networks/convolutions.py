"""Keras's convolutions with a bias that is added to the channels whatever the sizes.

Keras's TensorFlow backend takes a [1, channels, 1, 1] bias for one of the last axis where the width happens to equal
the number of channels (ops.add of Keras 3.15), so that channels_first networks are silently wrong. Elsewhere ops.add
is TensorFlow's BiasAdd, which its graph passes join with a convolution and a leaky ReLU after it; what oneDNN then
computes is wrong by some percent (TensorFlow 2.21; tests/networks/test_uresnet.py). The classes keep Keras's names, by
which weights files address layers.
"""

import keras
from keras import layers, ops


def add_bias(layer, x):
    """x plus the layer's bias, if it has one."""
    if not layer.use_bias:
        return x
    shape = [1] * len(x.shape)
    shape[-1 if layer.data_format == "channels_last" else 1] = -1
    return x + ops.reshape(layer.bias, shape)


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class Conv2D(layers.Conv2D):
    """As keras.layers.Conv2D, without activation."""

    def call(self, inputs):
        return add_bias(self, self.convolution_op(inputs, self.kernel))


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class Conv3D(layers.Conv3D):
    """As keras.layers.Conv3D, without activation."""

    def call(self, inputs):
        return add_bias(self, self.convolution_op(inputs, self.kernel))


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class Conv2DTranspose(layers.Conv2DTranspose):
    """As keras.layers.Conv2DTranspose, without activation."""

    def call(self, inputs):
        x = ops.conv_transpose(
            inputs,
            self.kernel,
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return add_bias(self, x)
