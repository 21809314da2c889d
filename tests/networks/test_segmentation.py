"""What a network gives to training and inference: scores, and the pixels' places."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config.base import LARGEST_INTEGER
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.scatter import flat_places
from cosmictagger_tf.networks.segmentation import scores_of


def test_a_pixel_with_a_logit_that_is_not_finite_has_no_score():
    logits = np.float32([[1, 2, 3], [np.nan, 0, 0], [0, np.inf, 0], [-np.inf, 0, 0], [3e38, -3e38, 0]])
    for scores in (scores_of(logits), tf.function(scores_of, jit_compile=True)(logits)):
        assert np.isnan(scores).all(axis=1).tolist() == [False, True, True, True, False]
        np.testing.assert_allclose(np.asarray(scores)[0], keras.ops.softmax(logits[0]), rtol=1e-6)


def test_more_images_than_their_pixels_can_be_numbered_are_refused():
    most = LARGEST_INTEGER // (3 * 1280 * 2048)
    fits, many = (np.zeros((events, 3, 1, 2), np.int32) for events in (most, most + 1))
    last = np.asarray(flat_places(fits + np.int32([1279, 2047]), 1280, 2048)).max()
    assert last == most * 3 * 1280 * 2048 - 1 > 0
    with pytest.raises(
        ConfigError, match=f"--minibatch_size={most + 1}: the dense network takes at most {most} events"
    ):
        flat_places(many, 1280, 2048)
    open_batch = tf.function(
        lambda c: flat_places(c, 1280, 2048), input_signature=[tf.TensorSpec((None, 3, None, 2), tf.int32)]
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most"):
        open_batch(many)
