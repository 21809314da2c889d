"""What training and inference see of a sparse network: pixel lists in, logits and matching labels out."""

import keras
import numpy as np
from keras import ops

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import BACKGROUND, N_CLASSES, ImageShape
from cosmictagger_tf.networks.blocks import EMPTY_LOGITS
from cosmictagger_tf.networks.charge import in_typical_charge
from cosmictagger_tf.networks.segmentation import Segmentation, heads_of, pixels_of
from cosmictagger_tf.networks.sparse import host_rulebook
from cosmictagger_tf.networks.sparse.buckets import bucket_sizes, fill_up
from cosmictagger_tf.networks.sparse.rulebook import NOWHERE, build_rulebook, grids, pixel_keys, rulebook_of_keys


def run_network(network: keras.Model, book: dict, training: bool = False):
    """What a network gives of a batch of lists, the pixels' logits in the order of the lists.

    Args:
        network: see uresnet.build_sparse_uresnet.
        book: the rulebook of the lists.
        training: as in a call of the network.

    Returns:
        float32 [batch, planes, P, classes], 0 where padded, and the dict of what its heads give.
    """
    outputs = network({name: book[name] for name in network.input}, training=training)
    sites = pixels_of(outputs)
    padded = ops.concatenate([sites, ops.zeros((1, N_CLASSES), dtype=sites.dtype)])
    return ops.take(padded, book["pixel_sites"], axis=0), heads_of(outputs)


class SparsePreparation:
    """What is added to a Batch on the host, ahead of the step: its rulebook, flat, and the labels of empty pixels.

    Args:
        network: see uresnet.build_sparse_uresnet.
        config: its architecture.
        shape: of the images.
        static: lists of a few lengths only (see buckets.py), for XLA.

    Attributes:
        added: by name the shape, open sizes None, and the dtype of what is added: the arrays of
            rulebook.build_rulebook, and empty_labels [batch, planes, classes].
    """

    def __init__(self, network: keras.Model, config: NetworkConfig, shape: ImageShape, static: bool):
        self.config, self.shape, self.static = config, shape, static
        self.added = {name: (tuple(table.shape), table.dtype) for name, table in network.input.items()}
        lists = (None, shape.planes, None)
        self.added |= {"pixel_sites": (lists, "int32"), "empty_labels": ((*lists[:2], N_CLASSES), "int32")}

    def __call__(self, batch: dict) -> dict:
        """The Batch of NumPy arrays, and what is added."""
        coordinates, values = (np.asarray(batch[f"image_{name}"]) for name in ("coordinates", "values"))
        book = host_rulebook.build_rulebook(coordinates, values, self.config, self.shape)
        if self.static:
            book = fill_up(book, bucket_sizes(book, self.config), self.config)
        return {**batch, **book, "empty_labels": empty_labels(batch, self.shape)}


def empty_labels(batch: dict, shape: ImageShape) -> np.ndarray:
    """int32 [batch, planes, classes]: how many pixels that are none of the image's have each class, background mostly.

    Args:
        batch: a Batch as NumPy arrays.
        shape: of the images.
    """
    listed, labelled = (np.asarray(batch[f"{name}_coordinates"])[..., 0] >= 0 for name in ("image", "label"))
    everywhere, here = (
        np.stack([np.sum(there & (np.asarray(batch[name]) == c), axis=2, dtype=np.int32) for c in range(N_CLASSES)], -1)
        for name, there in (("label_values", labelled), ("labels", listed))
    )
    # All pixels that no list has are background, and an image's pixel without a label is that here but not there.
    everywhere[..., BACKGROUND] = shape.pixels - everywhere[..., BACKGROUND + 1 :].sum(axis=-1)
    return everywhere - here


class SparseSegmenter:
    """Runs a sparse network on pixel lists; the counterpart of DenseSegmenter.

    An image's pixels come with their own logits. Its empty pixels, background with certainty, are added as one element
    a class, whose multiplicity is the number of those with this class for a label: so loss and metrics are those of
    the whole image.

    Args:
        network: see uresnet.build_sparse_uresnet.
        config: its architecture.
        shape: the images' shape, as the network takes them (after downsampling).
        static: lists of a few lengths only (see buckets.py), for XLA.
    """

    def __init__(self, network: keras.Model, config: NetworkConfig, shape: ImageShape, static: bool = False):
        self.network, self.config, self.shape = network, config, shape
        self.head_design = config.head_design
        self.prepare = SparsePreparation(network, config, shape, static)

    def pixel_logits(self, batch: dict, training: bool = False):
        """float32 [batch, planes, P, classes] of a Batch, prepared or not, at the pixels of its lists."""
        return self.pixel_outputs(batch, training)[0]

    def pixel_outputs(self, batch: dict, training: bool = False):
        """The same, and the dict of what the network's heads give.

        A Batch that is not prepared gets its rulebook in the graph, as those of an exported model do.
        """
        if "pixel_sites" not in batch:
            batch = build_rulebook(batch["image_coordinates"], batch["image_values"], self.config, self.shape)
        return run_network(self.network, batch, training)

    def logits(self, batch: dict, training: bool = False):
        """float32 [batch, planes, height, width, classes] of a Batch, prepared or not."""
        return self.outputs(batch, training)[0]

    def outputs(self, batch: dict, training: bool = False):
        """The same, and the dict of what the network's heads give."""
        keys = pixel_keys(batch["image_coordinates"], self.shape)
        logits, heads = self.pixel_outputs(batch, training)
        return self._scattered(logits, keys, ops.shape(keys)[0]), heads

    def image_outputs(self, images):
        """Logits [batch, planes, height, width, classes] and what heads give of images [batch, planes, height, width].

        A pixel is active where it is not 0. Not for XLA.
        """
        batch, grid = ops.shape(images)[0], grids(self.config, self.shape)[0]
        images = in_typical_charge(images) if self.config.normalise_charge else images
        event, plane, row, column = (ops.cast(axis, "int32") for axis in ops.nonzero(images))
        keys = grid.key(event * grid.planes + plane, row, column)
        values = ops.take(ops.reshape(images, (-1,)), self._places(keys))
        book = rulebook_of_keys(keys, values, batch, self.config, self.shape)
        logits, heads = run_network(self.network, book)
        return self._scattered(logits, keys, batch), heads

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
        pixels = ops.scatter_update(empty, places, ops.reshape(logits, (-1, N_CLASSES)))
        shape = (batch, self.shape.planes, self.shape.height, self.shape.width, N_CLASSES)
        return ops.reshape(pixels[:-1], shape)

    def __call__(self, batch: dict, training: bool = False) -> Segmentation:
        """Labels, logits and multiplicities [batch, planes, P + classes] of a prepared Batch."""
        logits, heads = run_network(self.network, batch, training)
        leading = tuple(ops.shape(logits)[:2])
        empty_logits = ops.broadcast_to(ops.cast(EMPTY_LOGITS, logits.dtype), (*leading, N_CLASSES, N_CLASSES))
        empty_labels = ops.broadcast_to(ops.arange(N_CLASSES, dtype="int32"), (*leading, N_CLASSES))
        here = ops.cast(batch["image_coordinates"][..., 0] >= 0, "int32")
        return Segmentation(
            ops.concatenate([batch["labels"], empty_labels], axis=2),
            ops.concatenate([logits, empty_logits], axis=2),
            ops.concatenate([here, batch["empty_labels"]], axis=2),
            heads,
        )

    def at_listed_pixels(self, segmentation: Segmentation, batch: dict):
        """float32 [batch, planes, P, classes], the logits at the pixels of the image's lists."""
        return segmentation.logits[:, :, : ops.shape(batch["image_coordinates"])[2]]
