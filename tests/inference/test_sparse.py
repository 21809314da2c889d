"""A sparse network through prediction, evaluation and export."""

import numpy as np
import pytest

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.inference.model_loading import as_it_computes
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.training.checkpoints.weights import load_weights

CONFIG = NetworkConfig(
    conv_mode="sparse",
    n_initial_filters=2,
    network_depth=2,
    blocks_per_layer=1,
    blocks_deepest_layer=1,
    blocks_final=0,
    bottleneck_deepest=4,
)
DOWNSAMPLE = 4


@pytest.fixture(scope="module")
def events(simulated_file):
    file = LarcvFile(str(simulated_file), "sbndwire", "sbnd_cosmicseg")
    return [file.read(0), file.read(1)]


@pytest.fixture(scope="module")
def batch(events):
    small = [downsample_event(event, DOWNSAMPLE) for event in events]
    return make_batch(small, 2, small[0].shape), small


@pytest.fixture(scope="module")
def segmenter(batch):
    return build_segmenter(CONFIG, batch[1][0].shape)


@pytest.fixture(scope="module")
def expected(segmenter, batch):
    """float32 [batch, planes, P, classes]."""
    from keras import ops

    scores = np.asarray(ops.softmax(segmenter.pixel_logits(batch[0]), axis=-1))
    real = batch[0]["image_coordinates"][..., 0] >= 0
    assert np.ptp(scores[real]) > 1e-3
    return scores, real


def test_prediction_and_evaluation_see_the_same_scores(batch, segmenter, expected):
    from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
    from cosmictagger_tf.inference.calibrated_segmenter import CalibratedSegmenter
    from cosmictagger_tf.inference.evaluate.details import DetailedEvaluator
    from cosmictagger_tf.networks.predictor import PixelPredictor

    scores, real = expected
    predicted = PixelPredictor(segmenter, xla=False).predict_on_batch(segmenter.prepare(batch[0]))["pixels"]
    calibrated = CalibratedSegmenter(segmenter, Calibration(), WorkingPoint())
    evaluated = DetailedEvaluator(calibrated, "light", xla=False).predict_on_batch(segmenter.prepare(batch[0]))
    np.testing.assert_allclose(predicted[real], scores[real], atol=1e-5)
    np.testing.assert_allclose(np.asarray(evaluated["pixel_scores"])[real], scores[real], atol=1e-5)
    assert evaluated["counts"].sum(axis=(2, 3)).tolist() == [[80 * 128] * 3] * 2


def test_computed_in_dense_images_it_gives_its_scores(batch, segmenter, expected, tmp_path):
    from keras import ops

    asked = NetworkConfig(conv_mode="3D", submanifold=True)
    dense = build_segmenter(as_it_computes(CONFIG, asked), batch[1][0].shape)
    segmenter.network.save_weights(tmp_path / "network.weights.h5")
    load_weights(tmp_path / "network.weights.h5", dense.network)
    scores, real = expected
    dense_scores = np.asarray(ops.softmax(dense.pixel_logits(batch[0]), axis=-1))
    np.testing.assert_allclose(dense_scores[real], scores[real], atol=1e-5)


def test_what_is_not_the_same_network_is_not_taken_for_it():
    dense = NetworkConfig(conv_mode="3D")
    masked = NetworkConfig(conv_mode="3D", submanifold=True)
    assert as_it_computes(masked, CONFIG).conv_mode == "sparse"
    assert as_it_computes(masked, NetworkConfig()) == masked
    for trained, asked in (
        (CONFIG, dense),
        (dense, CONFIG),
        (CONFIG, NetworkConfig(submanifold=True)),
        (dense, masked),
    ):
        assert as_it_computes(trained, asked) == trained


@pytest.mark.slow
@pytest.mark.parametrize("inside", [0, pytest.param(DOWNSAMPLE, marks=pytest.mark.exhaustive)])
def test_the_exported_model_gives_its_scores(events, batch, segmenter, expected, tmp_path, inside):
    import tensorflow as tf

    from cosmictagger_tf.inference.export.saved_model import ServedNetwork, export_saved_model

    export_saved_model(ServedNetwork(segmenter, inside), tmp_path / "model", {})
    served = tf.saved_model.load(str(tmp_path / "model")).signatures
    small, given = batch[1], events if inside else batch[1]
    images = np.stack([[p.dense(event.shape.height, event.shape.width) for p in event.image] for event in given])
    dense = served["serving_default"](images=tf.constant(images.transpose(0, 2, 3, 1)))["scores"].numpy()
    lists = make_batch(given, 2, given[0].shape)
    inputs = {"coordinates": lists["image_coordinates"], "values": lists["image_values"]}
    pixels = served["pixels"](**{name: tf.constant(value) for name, value in inputs.items()})["scores"].numpy()
    factor = 2**inside
    for i, event in enumerate(small):
        for plane, listed in enumerate(event.image):
            wanted = expected[0][i, plane, : len(listed)]
            np.testing.assert_allclose(dense[i, listed.rows, listed.columns, plane], wanted, atol=1e-5)
            image = np.zeros((*dense.shape[1:3], 3), np.float32)
            image[listed.rows, listed.columns] = wanted
            stored = given[i].image[plane]
            wanted = image[stored.rows // factor, stored.columns // factor]
            np.testing.assert_allclose(pixels[i, plane, : len(stored)], wanted, atol=1e-5)
            empty = np.ones(dense.shape[1:3], bool)
            empty[listed.rows, listed.columns] = False
            assert (dense[i, ..., plane, 0][empty] > 0.99999).all()
