"""What the signatures of an exported model compute."""

import keras
import numpy as np
import pytest

from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.inference.export.served_network import ServedNetwork
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.networks.segmentation import EVENT, VERTEX
from tests.inference.export.small import HEADS, SITES, SIZES
from tests.networks.sparse.examples import randomise

EVENT_OUTPUTS = ("event_logits", "event_probabilities", "vertices", "vertex_scores")
EXPORTED = {
    "2D": NetworkConfig(conv_mode="2D", **SIZES),
    "submanifold": NetworkConfig(conv_mode="3D", submanifold=True, **SIZES),
    "sparse": NetworkConfig(conv_mode="sparse", **SIZES),
}


@pytest.fixture(scope="module", params=[(kind, d) for kind in EXPORTED for d in (0, 1)], ids=lambda p: f"{p[0]}_{p[1]}")
def served(request):
    """A small network with random weights as the signatures see it, without and with preprocessing."""
    kind, downsample = request.param
    keras.config.set_dtype_policy("float32")
    segmenter = build_segmenter(EXPORTED[kind], ImageShape(3, 16, 24))
    rng = np.random.default_rng(4)
    segmenter.network.set_weights([w + rng.normal(0, 0.1, w.shape) for w in segmenter.network.get_weights()])
    return ServedNetwork(segmenter, downsample)


def pixels_of(rows_and_columns, value=50.0):
    """Inputs of one sample whose plane 1 has these pixels; one pixel (2, 3) is on each plane."""
    coordinates = np.full((1, 3, 1 + len(rows_and_columns), 2), -1, np.int32)
    values = np.zeros(coordinates.shape[:3], np.float32)
    coordinates[0, :, 0], values[0, :, 0] = (2, 3), 20
    for i, place in enumerate(rows_and_columns, start=1):
        coordinates[0, 1, i], values[0, 1, i] = place, value
    return coordinates, values


def score_pixels(served, coordinates, values):
    return np.asarray(served.pixel_results(keras.ops.array(coordinates), keras.ops.array(values))["scores"])


def outside(shape):
    """Places outside an image: just beyond each edge, and as far as int32 goes."""
    near = [(10, shape.width), (shape.height, 0), (10, shape.width + 5), (-2, 3), (3, -2), (-1, 3), (3, -1)]
    return [*near, (2**31 - 1, 0), (0, 2**31 - 1), (-(2**31), 0), (0, -(2**31))]


def test_pixels_outside_the_image_score_as_padding_and_change_nothing(served):
    alone = score_pixels(served, *pixels_of([]))
    np.testing.assert_allclose(alone.sum(axis=-1), 1, rtol=1e-5)
    for value in (50.0, np.nan):
        scores = score_pixels(served, *pixels_of(outside(served.input), value))
        np.testing.assert_array_equal(scores[:, 1, 1:], 0)
        np.testing.assert_allclose(scores[:, :, :1], alone, atol=1e-6)


def test_compiled_with_xla_pixels_outside_are_padding_too():
    import tensorflow as tf

    served = ServedNetwork(build_segmenter(EXPORTED["2D"], ImageShape(3, 16, 24)))
    inputs = pixels_of(outside(served.input))
    scores = tf.function(served.pixel_results, jit_compile=True)(*map(tf.constant, inputs))["scores"]
    np.testing.assert_allclose(scores, score_pixels(served, *inputs), atol=1e-6)
    np.testing.assert_array_equal(scores[:, 1, 1:], 0)


def test_a_pixel_listed_twice_has_the_sum(served):
    twice = score_pixels(served, *pixels_of([(5, 7), (5, 7)], 25.0))
    once = score_pixels(served, *pixels_of([(5, 7)], 50.0))
    np.testing.assert_allclose(twice[0, 1, [1, 2]], once[0, 1, [1, 1]], atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_with_a_value_that_is_not_finite_has_no_scores(served, bad):
    sound, broken = pixels_of([(5, 7)]), pixels_of([(5, 7)], bad)
    scores = score_pixels(served, *(np.concatenate(parts) for parts in zip(broken, sound, strict=True)))
    assert np.isnan(scores[0, :, 0]).all() and np.isnan(scores[0, 1]).all()
    np.testing.assert_allclose(scores[1], score_pixels(served, *sound)[0], atol=1e-6)
    images = np.zeros((2, served.input.height, served.input.width, 3), np.float32)
    images[:, 2, 3] = 20
    images[0, 5, 7, 1] = bad
    scores = np.asarray(served.image_results(keras.ops.array(images))["scores"])
    assert np.isnan(scores[0]).all() and np.isfinite(scores[1]).all()


def test_no_pixels_give_no_scores(served):
    coordinates, values = pixels_of([])
    assert score_pixels(served, coordinates[:, :, :0], values[:, :, :0]).shape == (1, 3, 0, 3)


def test_no_samples_give_no_scores(served):
    convolved = keras.ops.conv(keras.ops.zeros((0, 2, 2, 1)), keras.ops.zeros((1, 1, 1, 3)))
    if convolved.shape[-1] != 3:
        pytest.skip("oneDNN's convolutions give no images the channels that went in (TensorFlow 2.21)")
    images = np.zeros((0, served.input.height, served.input.width, 3), np.float32)
    size = (0, served.output.height, served.output.width, 3, 3)
    assert served.image_results(keras.ops.array(images))["scores"].shape == size
    coordinates, values = pixels_of([])
    assert score_pixels(served, coordinates[:0], values[:0]).shape == (0, 3, 1, 3)


HEADED = {
    "2D": with_changes(EXPORTED["2D"], **HEADS),
    "submanifold": with_changes(EXPORTED["submanifold"], **SITES),
    "sparse": with_changes(EXPORTED["sparse"], **HEADS),
    "sparse_sites": with_changes(EXPORTED["sparse"], **SITES),
}


@pytest.fixture(scope="module", params=HEADED)
def headed(request):
    """A network with heads and random weights as the signatures see it."""
    keras.config.set_dtype_policy("float32")
    segmenter = build_segmenter(HEADED[request.param], ImageShape(3, 16, 24))
    randomise(segmenter.network, seed=3)
    return ServedNetwork(segmenter, event_temperature=2.0)


def test_a_network_without_heads_gives_scores_alone(served):
    assert not served.has_heads
    assert set(served.pixel_results(*map(keras.ops.array, pixels_of([])))) == {"scores"}


def test_events_are_what_the_heads_give(headed):
    inputs = pixels_of([(5, 6), (9, 20)])
    batch = {"image_coordinates": inputs[0], "image_values": inputs[1]}
    logits, heads = headed.segmenter.pixel_outputs({name: keras.ops.array(array) for name, array in batch.items()})
    results = headed.pixel_results(*map(keras.ops.array, inputs))
    np.testing.assert_allclose(results["scores"][0, 1], keras.ops.softmax(logits)[0, 1], atol=1e-6)
    np.testing.assert_allclose(results["event_logits"], heads[EVENT], atol=1e-5)
    np.testing.assert_allclose(results["event_probabilities"], keras.ops.softmax(heads[EVENT] / 2), atol=1e-6)
    for plane, cells in enumerate(np.asarray(heads[VERTEX])[0]):
        row, column = np.unravel_index(np.argmax(cells[..., 0]), cells.shape[:2])
        probability, *offsets = cells[row, column]
        place = np.clip(2 * (np.array([row, column]) + offsets), 0, (16, 24))
        assert float(results["vertex_scores"][0, plane]) == pytest.approx(probability, abs=1e-6)
        np.testing.assert_allclose(results["vertices"][0, plane], place, atol=1e-5)


def test_images_and_pixels_give_the_same_events(headed):
    inputs = pixels_of([(5, 6), (9, 20)])
    images = np.zeros((1, 16, 24, 3), np.float32)
    images[0, 2, 3], images[0, 5, 6, 1], images[0, 9, 20, 1] = 20, 50, 50
    of_images, of_pixels = headed.image_results(keras.ops.array(images)), headed.pixel_results(*inputs)
    assert set(of_images) == set(of_pixels) == {"scores", *EVENT_OUTPUTS}
    for name in EVENT_OUTPUTS:
        np.testing.assert_allclose(of_images[name], of_pixels[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_vertices_are_in_pixels_of_the_images_that_go_in(headed):
    images = np.zeros((1, 16, 24, 3), np.float32)
    images[0, 2:9, 3, :] = 20
    plain = headed.image_results(keras.ops.array(images))
    larger = np.repeat(np.repeat(images, 4, axis=1), 4, axis=2)
    inside = ServedNetwork(headed.segmenter, downsample=2).image_results(keras.ops.array(larger))
    np.testing.assert_allclose(inside["vertices"], 4 * plain["vertices"], rtol=1e-5)
    np.testing.assert_allclose(inside["vertex_scores"], plain["vertex_scores"], rtol=1e-5)


def test_a_sample_with_a_value_that_is_not_finite_has_no_events(headed):
    sound, broken = pixels_of([(5, 7)]), pixels_of([(5, 7)], np.nan)
    results = headed.pixel_results(*(np.concatenate(parts) for parts in zip(broken, sound, strict=True)))
    alone = headed.pixel_results(*sound)
    for name in EVENT_OUTPUTS:
        assert np.isnan(results[name][0]).all(), name
        np.testing.assert_allclose(results[name][1], alone[name][0], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["sparse", "sparse_sites"])
def test_a_plane_without_pixels_has_no_vertex_in_a_sparse_network(kind):
    keras.config.set_dtype_policy("float32")
    segmenter = build_segmenter(HEADED[kind], ImageShape(3, 16, 24))
    coordinates, values = pixels_of([(5, 6)])
    coordinates[0, 2] = -1
    results = ServedNetwork(segmenter).pixel_results(coordinates, values)
    assert np.isnan(results["vertices"]).all(axis=-1).tolist() == [[False, False, True]]
    assert results["vertex_scores"][0, 2] == 0 and np.isfinite(results["event_probabilities"]).all()
