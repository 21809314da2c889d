"""A dense network that computes what the sparse one does: empty pixels stay empty, level by level.

A mask of the active pixels is multiplied in after each step, and normalisations take the active pixels' statistics. So
the dense 3D network has the sparse network's weights, logits and gradients (submanifold convolutions: B. Graham, L. van
der Maaten, arXiv:1706.01307), by plain convolutions of fixed shapes and without a rulebook: for XLA, for GPUs, and for
whatever reads an exported graph.
"""

import keras
from keras import layers, ops

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.networks.blocks import BLOCK_KERNEL, EMPTY_LOGITS, Parts
from cosmictagger_tf.networks.pooling import BELOW_ALL


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class ActivePixels(layers.Layer):
    """1 where an image is not 0 and enough charge lies around, else 0. Call with [images, height, width] in ADC.

    Args:
        charge: the least sum of the absolute values in the 3x3 window of a pixel, in ADC; 0: none is needed.
        channels: -1 or 1, the axis of size 1 that is added.
    """

    def __init__(self, charge: float = 0.0, channels: int = -1, **kwargs):
        # No autocast: in half precision a charge would be a rough one.
        super().__init__(autocast=False, **kwargs)
        self.charge, self.channels = charge, channels

    def call(self, images):
        """float [images, height, width, 1], or [images, 1, height, width]."""
        active = images != 0
        if self.charge:
            active = active & (charge_around(images) >= self.charge)
        return ops.expand_dims(ops.cast(active, self.compute_dtype), self.channels)

    def get_config(self):
        return {**super().get_config(), "charge": self.charge, "channels": self.channels}


def charge_around(images):
    """The absolute values in the 3x3 window around each pixel, summed: [images, height, width] -> the same shape."""
    _, height, width = images.shape
    beyond = BLOCK_KERNEL // 2
    charge = ops.pad(ops.abs(images), [(0, 0), (beyond, beyond), (beyond, beyond)])
    charge = sum(charge[:, i : i + height] for i in range(BLOCK_KERNEL))
    return sum(charge[:, :, i : i + width] for i in range(BLOCK_KERNEL))


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class OnlyActive(layers.Layer):
    """Features where a mask of the active pixels is 1, 0 elsewhere. Call with both."""

    def __init__(self, **kwargs):
        # No autocast: a network's outputs are float32 in half precision too.
        super().__init__(autocast=False, **kwargs)

    def call(self, x, active):
        return x * ops.cast(active, x.dtype)

    def compute_output_spec(self, x, active):
        return keras.KerasTensor(x.shape, x.dtype)


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class ActiveRowMaxima(layers.Layer):
    """The greatest value of a row's active pixels; 0 where it has none. Call with features and their mask.

    Args:
        channels: -1 or 1, the axis of the channels.
    """

    def __init__(self, channels: int = -1, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def call(self, x, active):
        """[batch * planes, height, channels]."""
        x = ops.where(active > 0, x, BELOW_ALL)
        greatest = ops.max(x, axis=2) if self.channels == -1 else ops.transpose(ops.max(x, axis=3), (0, 2, 1))
        return ops.where(greatest > BELOW_ALL, greatest, 0)

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class BackgroundElsewhere(layers.Layer):
    """Logits where a mask is 1, those of certain background elsewhere. Call with [..., classes] and [..., 1].

    Args:
        channels: the axis of the classes.
    """

    def __init__(self, channels: int = -1, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.channels = channels

    def call(self, logits, active):
        shape = [1] * len(logits.shape)
        shape[self.channels] = -1
        return ops.where(active > 0, logits, ops.reshape(ops.cast(EMPTY_LOGITS, logits.dtype), shape))

    def compute_output_shape(self, logits_shape, active_shape):
        return logits_shape

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


class SubmanifoldParts(Parts):
    """Makes the layers of a level whose empty pixels stay empty: any but the deepest, which is computed everywhere.

    Args:
        config, planes, coarser: see Parts.
        active: the mask of the level's pixels.
    """

    def __init__(self, config: NetworkConfig, planes: int, coarser: Parts, active):
        super().__init__(config, planes, coarser)
        self.active = active

    def only_active(self, x, name):
        """0 at the pixels that are not active."""
        return OnlyActive(name=f"{name}_active")(x, self.active)

    def row_maxima(self, x, name):
        """The greatest value of a row's active pixels."""
        return ActiveRowMaxima(self.channels, name=f"{name}_maxima")(x, self.active)

    def logits(self, x):
        """Those of certain background at empty pixels."""
        return self._elsewhere(super().logits(x), "background_elsewhere")

    def joined(self, logits, event):
        """Those of certain background at empty pixels, as before."""
        return self._elsewhere(super().joined(logits, event), "joined_elsewhere")

    def _elsewhere(self, logits, name):
        return BackgroundElsewhere(self.channels, name=name)(logits, self.active)


def submanifold_parts(config: NetworkConfig, planes: int, images) -> Parts:
    """The Parts of the finest level of images [batch * planes, height, width], which lead to those of the others."""
    parts = Parts(config, planes)
    active = ActivePixels(0.0, parts.channels, dtype="float32", name="active_0")(images)
    masks = [parts.keep(active)]
    if config.descend_charge:
        active = ActivePixels(config.descend_charge, parts.channels, dtype="float32", name="descending")(images)
    for depth in range(1, config.network_depth):
        pool = layers.MaxPooling2D(2, data_format=config.data_format, dtype="float32", name=f"active_{depth}")
        active = pool(active)
        masks.append(parts.keep(active))
    for mask in reversed(masks):
        parts = SubmanifoldParts(config, planes, parts, mask)
    return parts
