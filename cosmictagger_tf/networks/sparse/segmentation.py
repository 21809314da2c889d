"""What training and inference see of a sparse network: pixel lists in, logits and matching labels out."""

from typing import Any

import keras
from keras import ops

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import BACKGROUND, N_CLASSES, ImageShape
from cosmictagger_tf.networks.blocks import EMPTY_LOGITS
from cosmictagger_tf.networks.segmentation import Segmentation
from cosmictagger_tf.networks.sparse.buckets import bucket_sizes, fill_up
from cosmictagger_tf.networks.sparse.rulebook import (
    NOWHERE,
    build_rulebook,
    find,
    grids,
    pixel_keys,
    rulebook_of_keys,
)


def pixel_list_logits(network: keras.Model, book: dict, training: bool = False):
    """The logits of each pixel of a batch of lists.

    Args:
        network: see uresnet.build_sparse_uresnet.
        book: the rulebook of the lists.
        training: as in a call of the network.

    Returns:
        float32 [batch, planes, P, classes], in the order of the lists; 0 where padded.
    """
    sites = network({name: book[name] for name in network.input}, training=training)
    padded = ops.concatenate([sites, ops.zeros((1, N_CLASSES), dtype=sites.dtype)])
    return ops.take(padded, book["pixel_sites"], axis=0)


def align_labels(batch: dict, shape: ImageShape):
    """The labels at the image's pixels, and how many of each class lie elsewhere.

    Args:
        batch: image_coordinates, label_coordinates, label_values; see data/batch.py.
        shape: of the images.

    Returns:
        int32 [batch, planes, P], background where the label has no pixel; and int32 [batch, planes, classes], the empty
        pixels of each class, background mostly.
    """
    image, label = (pixel_keys(batch[f"{name}_coordinates"], shape) for name in ("image", "label"))
    flat_image, flat_label = ops.reshape(image, (-1,)), ops.reshape(label, (-1,))
    values = ops.cast(ops.reshape(batch["label_values"], (-1,)), "int32")

    order = ops.argsort(flat_label)
    nothing = ops.full((1,), BACKGROUND, dtype="int32")
    sorted_values = ops.concatenate([ops.take(values, order), nothing])
    there = ops.where(flat_image < NOWHERE, flat_image, -1)
    labels = ops.reshape(ops.take(sorted_values, find(ops.take(flat_label, order), there)), ops.shape(image))

    missed = find(ops.sort(flat_image), flat_label) == ops.size(flat_image)
    missed = ops.reshape(missed, ops.shape(label)) & (label < NOWHERE)
    classes = ops.one_hot(ops.cast(batch["label_values"], "int32"), N_CLASSES, dtype="int32")
    elsewhere = ops.sum(ops.cast(missed, "int32")[..., None] * classes, axis=2)
    listed = ops.sum(ops.cast(image < NOWHERE, "int32"), axis=2) + ops.sum(elsewhere, axis=2)
    background = ops.one_hot(BACKGROUND, N_CLASSES, dtype="int32")
    return labels, elsewhere + (shape.height * shape.width - listed)[..., None] * background


class SparseSegmenter:
    """Runs a sparse network on pixel lists; the counterpart of DenseSegmenter.

    An image's pixels come with their own logits. Its empty pixels, background with certainty, are added as one element
    a class, whose multiplicity says how many of them have this class for a label: so loss and metrics are those of
    the whole image.

    Args:
        network: see uresnet.build_sparse_uresnet.
        config: its architecture.
        shape: the images' shape, as the network takes them (after downsampling).
        static: lists of a few lengths only (see buckets.py), for XLA.
    """

    def __init__(self, network: keras.Model, config: NetworkConfig, shape: ImageShape, static: bool = False):
        self.network, self.config, self.shape, self.static = network, config, shape, static

    def prepare(self, batch: dict) -> dict:
        """The Batch and its rulebook, flat, and the labels where it has any: for dataset.map, ahead of the step.

        Adds the arrays of rulebook.build_rulebook by their names, `labels` int32 [batch, planes, P] and `empty_labels`
        int32 [batch, planes, classes].
        """
        book = build_rulebook(batch["image_coordinates"], batch["image_values"], self.config, self.shape)
        if self.static:
            book = fill_up(book, bucket_sizes(book, self.config), self.config)
        found = {**batch, **book}
        if "label_coordinates" in batch:
            found["labels"], found["empty_labels"] = align_labels(batch, self.shape)
        return found

    def pixel_logits(self, batch: dict, training: bool = False):
        """float32 [batch, planes, P, classes] of a Batch, prepared or not, at the pixels of its lists."""
        batch = batch if "pixel_sites" in batch else self.prepare(batch)
        return pixel_list_logits(self.network, batch, training)

    def logits(self, batch: dict, training: bool = False):
        """float32 [batch, planes, height, width, classes] of a Batch, prepared or not."""
        keys = pixel_keys(batch["image_coordinates"], self.shape)
        return self._scattered(self.pixel_logits(batch, training), keys, ops.shape(keys)[0])

    def image_logits(self, images):
        """float32 [batch, planes, height, width, classes] of images [batch, planes, height, width], without XLA.

        A pixel is active where it is not 0.
        """
        batch, grid = ops.shape(images)[0], grids(self.config, self.shape)[0]
        event, plane, row, column = (ops.cast(axis, "int32") for axis in ops.nonzero(images))
        keys = grid.key(event * grid.planes + plane, row, column)
        values = ops.take(ops.reshape(images, (-1,)), self._places(keys))
        book = rulebook_of_keys(keys, values, batch, self.config, self.shape)
        return self._scattered(pixel_list_logits(self.network, book), keys, batch)

    def _places(self, keys):
        """Where in all the pixels of a batch the pixel of each key is; -1 for NOWHERE."""
        image, row, column = grids(self.config, self.shape)[0].place(keys)
        return ops.where(keys < NOWHERE, (image * self.shape.height + row) * self.shape.width + column, -1)

    def _scattered(self, logits, keys, batch):
        places = ops.reshape(self._places(keys), (-1, 1))
        size = batch * self.shape.planes * self.shape.pixels
        # What is padded falls on an extra pixel.
        empty = ops.broadcast_to(ops.cast(EMPTY_LOGITS, logits.dtype), (size + 1, N_CLASSES))
        places = ops.where(places < 0, size, places)
        found = ops.scatter_update(empty, places, ops.reshape(logits, (-1, N_CLASSES)))
        shape = (batch, self.shape.planes, self.shape.height, self.shape.width, N_CLASSES)
        return ops.reshape(found[:-1], shape)

    def __call__(self, batch: dict, training: bool = False) -> Segmentation:
        """Labels, logits and multiplicities [batch, planes, P + classes] of a Batch, prepared or not."""
        batch = batch if "labels" in batch else self.prepare(batch)
        logits = pixel_list_logits(self.network, batch, training)
        leading = tuple(ops.shape(logits)[:2])
        empty_logits = ops.broadcast_to(ops.cast(EMPTY_LOGITS, logits.dtype), (*leading, N_CLASSES, N_CLASSES))
        empty_labels = ops.broadcast_to(ops.arange(N_CLASSES, dtype="int32"), (*leading, N_CLASSES))
        here = ops.cast(batch["image_coordinates"][..., 0] >= 0, "int32")
        return Segmentation(
            ops.concatenate([batch["labels"], empty_labels], axis=2),
            ops.concatenate([logits, empty_logits], axis=2),
            ops.concatenate([here, batch["empty_labels"]], axis=2),
        )

    def at_listed_pixels(self, found: Segmentation, batch: dict):
        """float32 [batch, planes, P, classes], the logits at the pixels of the image's lists."""
        logits: Any = found.logits
        return logits[:, :, : ops.shape(batch["image_coordinates"])[2]]
