"""A dense network on pixel lists, which become images on the device."""

import keras

from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.scatter import ScatterPixels, at_pixels
from cosmictagger_tf.networks.segmentation import Segmentation, heads_of, pixels_of


class DenseSegmenter:
    """Scatters pixel lists into dense images on the device and runs a dense network on them; a Segmenter.

    Args:
        network: images [batch, planes, height, width] -> logits [batch, planes, height, width, classes], among others
            or alone.
        shape: the images' shape, as the network takes them (after downsampling).
        head_design: of the network's heads.
    """

    def __init__(self, network: keras.Model, shape: ImageShape, head_design: str = "reference"):
        self.network, self.shape, self.head_design = network, shape, head_design
        self.prepare: None = None
        self.scatter = ScatterPixels(shape.height, shape.width)

    def logits(self, batch, training: bool = False):
        """float32 [batch, planes, height, width, classes] of a Batch (see data/batch.py)."""
        return self.outputs(batch, training)[0]

    def outputs(self, batch, training: bool = False):
        outputs = self._outputs(batch, training)
        return pixels_of(outputs), heads_of(outputs)

    def _outputs(self, batch, training):
        return self.network(self.scatter(batch["image_coordinates"], batch["image_values"]), training=training)

    def image_outputs(self, images):
        outputs = self.network(images, training=False)
        return pixels_of(outputs), heads_of(outputs)

    def pixel_outputs(self, batch, training: bool = False):
        logits, heads = self.outputs(batch, training)
        return at_pixels(logits, batch["image_coordinates"]), heads

    def pixel_logits(self, batch, training: bool = False):
        """float32 [batch, planes, P, classes] of a Batch, at the pixels of its lists."""
        return self.pixel_outputs(batch, training)[0]

    def at_listed_pixels(self, segmentation: Segmentation, batch):
        """float32 [batch, planes, P, classes], the logits at the pixels of the image's lists."""
        return at_pixels(segmentation.logits, batch["image_coordinates"])

    def __call__(self, batch, training: bool = False) -> Segmentation:
        labels = self.scatter(batch["label_coordinates"], batch["label_values"])
        logits, heads = self.outputs(batch, training)
        return Segmentation(labels, logits, heads=heads)
