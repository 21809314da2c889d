"""What a network gives to training and inference: scores, and the pixels' places."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import with_changes
from cosmictagger_tf.config.base import LARGEST_INTEGER
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.dense_segmenter import DenseSegmenter
from cosmictagger_tf.networks.scatter import flat_places
from cosmictagger_tf.networks.segmentation import PIXELS, scores_of
from cosmictagger_tf.networks.sparse.sparse_segmenter import SparseSegmenter
from tests.networks.sparse.examples import SHAPE, SMALL, dense_images, random_batch, randomise


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


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("mode", ["2D", "sparse"])
def test_pixels_are_one_of_several_outputs(mode, remat, tmp_path):
    sparse, config = mode == "sparse", with_changes(SMALL, conv_mode=mode, remat=remat, network_depth=1, blocks_final=0)
    plain = build_network(config, SHAPE)
    randomise(plain)
    second = keras.layers.Dense(2, name="second")(plain.get_layer("level0_down_0_relu").output)
    kept = [plain.get_layer(name).output for name in plain.get_config()["kept"]]
    several = type(plain)(plain.input, {PIXELS: plain.output, "second": second}, kept)
    several.save(tmp_path / "several.keras")
    loaded = keras.saving.load_model(tmp_path / "several.keras")
    assert type(loaded) is type(plain)
    segmenters = [
        SparseSegmenter(network, config, SHAPE) if sparse else DenseSegmenter(network, SHAPE)
        for network in (plain, several, loaded)
    ]
    batch = random_batch(5)
    images, prepared = tf.constant(dense_images(batch)), segmenters[0].prepare(batch) if sparse else batch
    prepared = {name: tf.constant(array) for name, array in prepared.items()}
    for ask in (
        lambda segmenter: segmenter.pixel_logits(prepared),
        lambda segmenter: segmenter.image_outputs(images)[0],
        lambda segmenter: segmenter(prepared, training=True).logits,
    ):
        expected, *others = map(ask, segmenters)
        for logits in others:
            np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    inputs = {name: prepared[name] for name in loaded.input} if sparse else images
    assert loaded(inputs)["second"].shape[-1] == 2
