"""What is kept of an event beside its confusion matrices: what heads give, and what made its pixels."""

from types import SimpleNamespace

import numpy as np
import pytest

from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.calibrated_segmenter import CalibratedSegmenter
from cosmictagger_tf.inference.evaluate.curves import ScoreHistogram
from cosmictagger_tf.inference.evaluate.details import DetailedEvaluator, details_of, given_quantities
from cosmictagger_tf.inference.evaluate.head_details import HeadReader
from cosmictagger_tf.networks.build import build_segmenter
from tests.inference.evaluate.test_evaluate_run import batch_of
from tests.training.small import NETWORK, SHAPE, make_batches
from tests.training.test_event_training import with_truth

NEUTRINO_SCORES, COSMIC_SCORES = (0.1, 0.1, 0.8), (0.1, 0.8, 0.1)


ONE_PLANE = ImageShape(1, 64, 64)
FULL = ImageShape(SHAPE.planes, 2 * SHAPE.height, 2 * SHAPE.width)


def results_of(*scores, **heads):
    scores = np.float32([[[*scores, (0, 0, 1)]]])
    return {"pixel_scores": scores, "pixel_probabilities": scores[..., 2], **heads}


class Primaries:
    """Of entry 4: a muon's pixel and a proton's."""

    def read(self, entry):
        assert entry == 4
        pixels = PlanePixels(np.int32([4, 9]), np.int32([20, 9]), np.float32([1, 3]))
        return SimpleNamespace(image=(pixels,))


class Broken:
    def read(self, entry):
        raise DataError("a.h5", "broken", entry)


def test_what_made_the_pixels_of_a_readout_with_cosmic_rays_only_is_counted():
    # At a quarter of the resolution the muon's pixel is (1, 5), which is called neutrino; the proton's is not.
    batch = batch_of([(1, 5, 7.0), (2, 2, 9.0)], [(1, 5, 1), (2, 2, 1)])
    results = results_of(NEUTRINO_SCORES, COSMIC_SCORES)
    assert details_of(batch, results, HeadReader(ONE_PLANE, 2), ScoreHistogram(1), Primaries()).primaries.tolist() == [
        [0, 1, 0, 0]
    ]
    assert details_of(batch, results, HeadReader(ONE_PLANE, 2), ScoreHistogram(1)).primaries is None


def test_a_readout_with_a_neutrino_is_not_looked_up():
    label = [(row, 3, 2) for row in range(10)]
    batch = batch_of([(1, 5, 7.0)], label)
    details = details_of(batch, results_of(NEUTRINO_SCORES), HeadReader(ONE_PLANE, 2), ScoreHistogram(1), Broken())
    assert details.true_pixels.tolist() == [10] and not details.primaries.any()


def test_a_product_that_cannot_be_read_stops_nothing(caplog):
    batch = batch_of([(1, 5, 7.0)], [(1, 5, 1)])
    details = details_of(batch, results_of(NEUTRINO_SCORES), HeadReader(ONE_PLANE, 2), ScoreHistogram(1), Broken())
    assert not details.primaries.any() and details.neutrino_pixels.tolist() == [[1]]
    assert caplog.messages == ["not known what made its pixels: a.h5, entry 4: broken"]


@pytest.mark.parametrize("conv_mode", ["2D", "sparse"])
def test_a_network_gives_what_cuts_look_at(conv_mode):
    heads = {"event_head": True, "event_filters": 4, "event_blocks": 1, "network_depth": 2}
    heads |= {"vertex_head": True, "vertex_filters": 4, "vertex_blocks": 1, "vertex_depth": 1}
    (batch,) = make_batches(1, 3)
    for options in ({}, heads):
        config = NetworkConfig(**{**NETWORK, **options, "conv_mode": conv_mode})
        segmenter = build_segmenter(config, SHAPE)
        prepared = segmenter.prepare(batch) if segmenter.prepare else batch
        calibrated = CalibratedSegmenter(segmenter, Calibration(), WorkingPoint())
        results = DetailedEvaluator(calibrated, "none", False).predict_on_batch(prepared)
        details = details_of(with_truth(batch), results, HeadReader(FULL, 1), ScoreHistogram(3))
        assert set(details.quantities()) == given_quantities(config)
    assert details.vertex_pixels.shape == (3, 3) and np.isfinite(details.vertex_pixels[:2]).any()
    np.testing.assert_allclose(details.class_scores.sum(axis=1), 1, atol=1e-6)
    assert details.vertex_rows.shape == (3,) and (details.vertex_rows <= 2 * SHAPE.height).all()
