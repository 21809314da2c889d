"""Loss, metrics and scores of the sparse segmenter: those of the whole images, empty pixels included."""

import numpy as np
import pytest
from keras import ops

from cosmictagger_tf.data.batch import labels_at_pixels
from cosmictagger_tf.networks.sparse.sparse_segmenter import EMPTY_LOGITS, SparseSegmenter
from cosmictagger_tf.training.losses import per_image_loss
from cosmictagger_tf.training.metrics import confusion_counts
from tests.networks.sparse.examples import SHAPE, SMALL, at_pixels, dense_images, random_batch, sparse_network


@pytest.fixture(scope="module")
def segmenter():
    return SparseSegmenter(sparse_network(), SMALL, SHAPE)


@pytest.fixture(scope="module")
def batch():
    pixels = random_batch(20)
    pixels["image_coordinates"][0, 2] = -1
    pixels["image_values"][0, 2] = 0
    pixels["labels"] = labels_at_pixels(pixels)
    return pixels


def here(batch):
    return batch["image_coordinates"][..., 0] >= 0


def test_dense_logits_are_those_of_the_pixels_and_background_elsewhere(segmenter, batch):
    dense = ops.convert_to_numpy(segmenter.logits(batch))
    pixels = ops.convert_to_numpy(segmenter.pixel_logits(batch))
    np.testing.assert_array_equal(at_pixels(dense, batch)[here(batch)], pixels[here(batch)])
    empty = dense_images({**batch, "image_values": here(batch).astype(np.float32)}) == 0
    assert (dense[empty] == EMPTY_LOGITS).all() and empty.sum() == 6 * SHAPE.pixels - here(batch).sum()


def test_images_give_what_lists_give(segmenter, batch):
    logits = segmenter.image_outputs(ops.convert_to_tensor(dense_images(batch)))[0]
    np.testing.assert_allclose(logits, segmenter.logits(batch), atol=1e-5)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("scheme", ["none", "light", "even", "focal"])
def test_loss_and_counts_are_those_of_the_whole_images(segmenter, batch, scheme, static):
    sparse = SparseSegmenter(segmenter.network, SMALL, SHAPE, static)
    sparse = sparse(sparse.prepare(batch))
    labels, logits = dense_images(batch, name="label"), segmenter.logits(batch)
    assert set(np.unique(labels)) == {0, 1, 2}
    lonely = (dense_images({**batch, "image_values": here(batch).astype(np.float32)}) == 0) & (labels > 0)
    assert lonely.any(), "every label has its pixel"
    expected = per_image_loss(labels, logits, scheme)
    losses = per_image_loss(sparse.labels, sparse.logits, scheme, sparse.multiplicity)
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    counts = confusion_counts(labels, ops.argmax(logits, axis=-1))
    image_counts = confusion_counts(sparse.labels, ops.argmax(sparse.logits, axis=-1), sparse.multiplicity)
    np.testing.assert_array_equal(image_counts, counts)
    assert ops.convert_to_numpy(counts).sum() == 6 * SHAPE.pixels
