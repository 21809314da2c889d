"""Layers of the sparse network that are no arithmetic of gathers.py."""

import numpy as np
import pytest

from cosmictagger_tf.config import with_changes
from cosmictagger_tf.networks.sparse.layers import SitesToImages
from tests.networks.sparse.examples import SHAPE, SMALL, dense_images, random_batch, rulebook


@pytest.mark.parametrize(("depth", "level"), [(1, 0), (2, 1), (3, 1), (3, 2)])
def test_sites_become_the_pixels_that_they_are(depth, level):
    batch = random_batch(4, pixels=12)
    # An event without a pixel.
    batch["image_coordinates"][1] = -1
    book = rulebook(batch, with_changes(SMALL, network_depth=depth))
    side = 2**level
    here = dense_images({**batch, "image_values": np.float32(batch["image_coordinates"][..., 0] >= 0)}) > 0
    active = here.reshape(6, SHAPE.height // side, side, SHAPE.width // side, side).any(axis=(2, 4))
    features = np.random.default_rng(5).normal(size=(active.sum(), 2)).astype(np.float32)
    expected = np.zeros((*active.shape, 2), np.float32)
    # Sites are sorted by image, row and column.
    expected[active] = features
    layer = SitesToImages(SHAPE.height >> depth, SHAPE.width >> depth)
    images = layer(features, *(book[f"children_{finer}"] for finer in reversed(range(level, depth))))
    np.testing.assert_array_equal(images, expected)
