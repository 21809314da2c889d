"""Pixel lists to dense images and back, on the device."""

import keras
from keras import ops

from cosmictagger_tf.backend import assert_at_most
from cosmictagger_tf.config.base import LARGEST_INTEGER
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.text import counted


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class ScatterPixels(keras.layers.Layer):
    """Scatters padded pixel lists into dense images.

    Call with coordinates int32 [batch, planes, pixels, 2] (row, column; detector.PADDING_COORDINATE where padded) and
    values [batch, planes, pixels] (0 where padded); the result is [batch, planes, height, width] of the values' dtype.

    Args:
        height, width: of the images.
    """

    def __init__(self, height: int, width: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.height, self.width = height, width

    def call(self, coordinates, values):
        batch, planes, _ = ops.shape(values)
        # A padded pixel lands on pixel (0, 0), to which it adds its value, 0.
        places = ops.reshape(flat_places(coordinates, self.height, self.width), (-1, 1))
        size = batch * planes * self.height * self.width
        return ops.reshape(
            ops.scatter(places, ops.reshape(values, (-1,)), (size,)), (batch, planes, self.height, self.width)
        )

    def compute_output_spec(self, coordinates, values):
        return keras.KerasTensor((*values.shape[:2], self.height, self.width), values.dtype)

    def get_config(self):
        return {**super().get_config(), "height": self.height, "width": self.width}


def flat_places(coordinates, height: int, width: int):
    """The places of pixels in the flattened images of a batch: int32 [batch, planes, pixels].

    Args:
        coordinates: int32 [batch, planes, pixels, 2], as ScatterPixels takes them; padding counts as pixel (0, 0).
        height, width: of the images.

    Raises:
        ConfigError: so many images have more pixels than int32 has numbers.
    """
    batch, planes, _, _ = ops.shape(coordinates)
    check_batch(batch, LARGEST_INTEGER // (planes * height * width), "the dense network")
    pixel = ops.maximum(coordinates[..., 0] * width + coordinates[..., 1], 0)
    image = ops.reshape(ops.arange(batch * planes, dtype="int32"), (batch, planes, 1))
    return pixel + image * (height * width)


def check_batch(batch, most: int, what: str):
    """Raises ConfigError where a batch has more events than `what` can number in int32.

    A graph of TensorFlow's of open batch size fails as it runs; where XLA compiles it there is no such check.
    """
    wrong = f"{what} takes at most {counted(most, 'event')} of this size at once"
    if not isinstance(batch, int):
        assert_at_most(batch, most, wrong)
    elif batch > most:
        raise ConfigError(f"--minibatch_size={batch}: {wrong}")


def at_pixels(images, coordinates):
    """The values of images [batch, planes, height, width, channels] at pixels: [batch, planes, pixels, channels].

    Args:
        images: whatever float dtype.
        coordinates: int32 [batch, planes, pixels, 2], as ScatterPixels takes them; padding gets pixel (0, 0)'s values.
    """
    height, width, channels = images.shape[2:]
    # Not keras.ops.take_along_axis: it turns integers round on the way, on which TensorFlow writes a notice on CPUs
    # without AVX-512 that oneDNN does not turn them.
    return ops.take(ops.reshape(images, (-1, channels)), flat_places(coordinates, height, width), axis=0)
