"""The 2D network as the reference's TensorFlow code computes it: stock Keras layers, called once for each plane.

A yardstick for time, not a network to train: the same layers, weights, outputs and gradients as those of
networks/uresnet.py (tests/benchmarking/test_reference_network.py), where the planes are folded into the batch.
"""

import keras
from keras import layers, ops

from cosmictagger_tf.benchmarking.bench import StepClock
from cosmictagger_tf.benchmarking.clock import Timing, timed
from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import N_CLASSES, ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.blocks import BLOCK_KERNEL, FIRST_KERNEL, WIRINGS
from cosmictagger_tf.networks.uresnet import filters_at


def build_reference_network(config: NetworkConfig, shape: ImageShape) -> keras.Model:
    """A functional model: images float32 [batch, planes, height, width] -> logits, the same with an axis of classes.

    Raises:
        ConfigError: see check_reference.
    """
    check_reference(config)
    images = keras.Input((shape.planes, shape.height, shape.width))
    planes = [ops.expand_dims(images[:, plane], -1) for plane in range(shape.planes)]
    return keras.Model(images, ops.stack(_Reference(config).logits(planes), axis=1))


def check_reference(config: NetworkConfig):
    """Raises ConfigError, naming the option, where the reference's TensorFlow code has no such 2D network."""
    wanted = {"conv_mode": "2D", "normalization": "batch", "submanifold": False, "data_format": "channels_last"}
    wanted |= {"row_exchange": (), "block_concat": False, "norm_statistics": "auto", "remat": False}
    wanted |= {"event_head": False, "vertex_head": False, "normalise_charge": False}
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise ConfigError(f"--reference: --{name} must be {value!r} as in the reference's TensorFlow networks")


class ReferenceBench:
    """That network and its training step by stock Keras: Adam and the mean cross-entropy of the pixels.

    Args:
        config, shape: see build_reference_network.
    """

    def __init__(self, config: NetworkConfig, shape: ImageShape):
        self.model = build_reference_network(config, shape)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer="adam", loss=loss, jit_compile=False)

    def forward(self, images, repeats: int) -> Timing:
        """Of the logits of images [batch, planes, height, width]."""
        return timed(lambda: self.model.predict_on_batch(images), repeats)

    def step(self, images, labels, repeats: int) -> Timing:
        """Of a training step on images and labels, the same shape."""
        clock, batches = StepClock(), ((images, labels) for _ in iter(int, 1))
        self.model.fit(batches, steps_per_epoch=repeats + 2, callbacks=[clock], shuffle=False, verbose=0)
        return clock.timing(2)


class _Reference:
    """Each method takes a list of tensors, one a plane, and gives one; layers are shared by its tensors."""

    def __init__(self, config: NetworkConfig):
        self.config, self.wiring = config, WIRINGS[config.wiring]

    def logits(self, planes):
        planes = self.unit(planes, self.config.n_initial_filters, FIRST_KERNEL)
        planes = self.blocks(self.level(planes, 0), self.config.blocks_final, BLOCK_KERNEL)
        return self.conv(planes, N_CLASSES, 1)

    def level(self, planes, depth):
        config = self.config
        if depth == config.network_depth:
            return self.deepest(planes)
        early, before, filters = self.wiring.skip_before_blocks, planes, planes[0].shape[-1]
        planes = self.blocks(planes, config.blocks_at(depth), BLOCK_KERNEL)
        skips = before if early else planes
        planes = self.level(self.down(planes, filters_at(config, depth + 1)), depth + 1)
        planes = self.up(planes, filters)
        planes = self.connect(planes, skips) if early else planes
        planes = self.blocks(planes, config.blocks_at(depth), BLOCK_KERNEL)
        return planes if early else self.connect(planes, skips)

    def deepest(self, planes):
        config, joined = self.config, [layers.Concatenate()(planes)]
        filters = joined[0].shape[-1]
        joined = self.unit(joined, config.bottleneck_deepest, 1)
        joined = self.blocks(joined, config.blocks_deepest_layer, config.filter_size_deepest)
        return ops.split(self.unit(joined, filters, 1)[0], len(planes), axis=-1)

    def blocks(self, planes, count, kernel):
        for _ in range(count):
            filters, before = planes[0].shape[-1], planes
            planes = self.unit(planes, filters, kernel)
            if self.config.residual:
                planes = self.unit(planes, filters, kernel, activation=False)
                planes = self.activate([layers.Add()(pair) for pair in zip(planes, before, strict=True)])
        return planes

    def down(self, planes, filters):
        if self.config.downsampling == "convolutional":
            return self.finish(self.conv(planes, filters, 2, strides=2))
        return self.unit([layers.MaxPooling2D(2)(plane) for plane in planes], filters, 1)

    def up(self, planes, filters):
        if self.config.upsampling == "convolutional":
            layer = layers.Conv2DTranspose(filters, 2, strides=2, use_bias=self.config.bias)
            return self.finish([layer(plane) for plane in planes])
        double = layers.UpSampling2D(2, interpolation="bilinear")
        return self.unit([double(plane) for plane in planes], filters, 1)

    def connect(self, planes, skips):
        if self.config.connections == "none":
            return planes
        pairs = list(zip(planes, skips, strict=True))
        if self.config.connections == "sum":
            return [layers.Add()(pair) for pair in pairs]
        return self.unit([layers.Concatenate()(pair) for pair in pairs], planes[0].shape[-1], 1)

    def unit(self, planes, filters, kernel, activation=True):
        return self.finish(self.conv(planes, filters, kernel), activation)

    def conv(self, planes, filters, kernel, strides=1):
        layer = layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=self.config.bias)
        return [layer(plane) for plane in planes]

    def finish(self, planes, activation=True):
        layer = layers.BatchNormalization(epsilon=self.wiring.epsilon, momentum=self.wiring.momentum)
        planes = [layer(plane) for plane in planes]
        return self.activate(planes) if activation else planes

    def activate(self, planes):
        return [layers.LeakyReLU(self.wiring.slope)(plane) for plane in planes]
