"""The working point is the same however a network is asked, and what it was before without a calibration."""

import numpy as np
import pytest
from keras import ops

from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.inference.calibrated_segmenter import CalibratedSegmenter
from cosmictagger_tf.networks.segmentation import EVENT
from tests.networks.sparse.examples import copy_weights
from tests.training.small import make_batches, make_model
from tests.training.test_event_training import HEADS

FITTED = Calibration(1.3, 0.8, 0.7, None, WorkingPoint(-0.3, 0.4), WorkingPoint(-0.1, -1.5, 0.92))


@pytest.fixture(params=["2D", "sparse"])
def segmenter(request):
    return make_model(conv_mode=request.param, **HEADS).segmenter


def prepared(segmenter):
    batch = make_batches(1, 2)[0]
    return segmenter.prepare(batch) if segmenter.prepare else batch


APART = WorkingPoint(-0.3, 0.4, joined=False)


@pytest.mark.parametrize("point", [FITTED.pixels, FITTED.selection, APART])
def test_probabilities_are_joined_whatever_the_point(segmenter, point):
    batch, calibrated = prepared(segmenter), CalibratedSegmenter(segmenter, FITTED, point, joins=True)
    given = np.asarray(calibrated.neutrino_probabilities(*calibrated.pixel_outputs(batch)))
    logits, heads = segmenter.pixel_outputs(batch)
    expected = FITTED.pixel_probabilities(np.asarray(logits), np.asarray(heads[EVENT]), 0.5)[..., 2]
    np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.parametrize("point", [FITTED.pixels, FITTED.selection, APART])
def test_every_way_to_ask_gives_the_working_point(segmenter, point):
    batch, calibrated = prepared(segmenter), CalibratedSegmenter(segmenter, FITTED, point, joins=True)
    logits, heads = segmenter.pixel_outputs(batch)
    expected = FITTED.at_point(point, np.asarray(logits), np.asarray(heads[EVENT]))
    segmentation = calibrated(batch)
    for given in (calibrated.pixel_logits(batch), calibrated.at_listed_pixels(segmentation, batch)):
        np.testing.assert_allclose(given, expected, atol=1e-4)
    np.testing.assert_array_equal(segmentation.heads[EVENT], heads[EVENT])
    every, heads = segmenter.outputs(batch)
    expected = FITTED.at_point(point, np.asarray(every), np.asarray(heads[EVENT]))
    np.testing.assert_allclose(calibrated.logits(batch), expected, atol=1e-4)
    images = np.random.default_rng(0).exponential(5, (1, 3, 16, 24)).astype("float32")
    logits, heads = segmenter.image_outputs(ops.convert_to_tensor(images))
    expected = FITTED.at_point(point, np.asarray(logits), np.asarray(heads[EVENT]))
    np.testing.assert_allclose(calibrated.image_outputs(ops.convert_to_tensor(images))[0], expected, atol=1e-4)


def test_without_a_calibration_scores_are_those_of_the_logits_and_a_shift(segmenter):
    batch, logits = prepared(segmenter), np.asarray(segmenter.pixel_logits(prepared(segmenter)))
    point = WorkingPoint(background_shift=-0.6)
    given = CalibratedSegmenter(segmenter, Calibration(pixels=point), point).pixel_logits(batch)
    np.testing.assert_allclose(ops.softmax(given), ops.softmax(logits + np.float32([-0.6, 0, 0])), atol=1e-6)


@pytest.mark.parametrize("conv_mode", ["2D", "sparse"])
def test_without_a_calibration_pixels_are_joined_as_the_network_was_trained(conv_mode):
    joined, apart = (
        make_model(conv_mode=conv_mode, event_joins_pixels=joins, **HEADS).segmenter for joins in (True, False)
    )
    copy_weights(joined.network, apart.network)
    batch = prepared(joined)
    calibrated = CalibratedSegmenter(apart, Calibration(), WorkingPoint(), joins=True)
    listed = batch["image_coordinates"][..., 0] >= 0
    given, expected, other = (
        np.asarray(ops.softmax(s.pixel_logits(batch)))[listed] for s in (calibrated, joined, apart)
    )
    np.testing.assert_allclose(given, expected, atol=1e-6)
    assert np.abs(expected - other).max() > 0.01
