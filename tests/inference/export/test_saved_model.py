"""A saved model gives what predict and evaluate give, on simulated events, whatever the network."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.inference.calibrated_segmenter import CalibratedSegmenter
from cosmictagger_tf.inference.evaluate.details import DetailedEvaluator
from cosmictagger_tf.inference.export.saved_model import export_saved_model
from cosmictagger_tf.inference.export.served_network import ServedNetwork
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.networks.predictor import PixelPredictor
from cosmictagger_tf.networks.segmentation import EVENT, PIXELS
from tests.inference.export.small import HEADS, SITES, SIZES
from tests.networks.sparse.examples import randomise

DOWNSAMPLE, TEMPERATURE = 4, 1.5
EVENTS = {"event_logits", "event_probabilities", "vertices", "vertex_scores"}
OUTPUTS_WITHOUT_HEADS = {
    "dense": {"scores"},
    "flat": {"scores"},
    "per_view": {f"scores{plane}" for plane in range(3)},
    "per_view_flat": {f"scores{plane}" for plane in range(3)},
    "pixels": {"scores"},
    "serving_default": {"scores"},
}


@pytest.fixture(scope="module")
def events(simulated_file):
    """Two simulated events, as the networks see them."""
    file = LarcvFile(str(simulated_file), "sbndwire", "sbnd_cosmicseg")
    events = [downsample_event(file.read(entry), DOWNSAMPLE) for entry in range(2)]
    file.close()
    return events


def saved(conv_mode, path, shape, **heads):
    """A network with random weights, and its saved model, loaded."""
    keras.config.set_dtype_policy("float32")
    segmenter = build_segmenter(with_changes(NetworkConfig(conv_mode=conv_mode, **SIZES), **heads), shape)
    randomise(segmenter.network, seed=2)
    export_saved_model(ServedNetwork(segmenter, event_temperature=TEMPERATURE), path, {})
    return segmenter, tf.saved_model.load(str(path)).signatures


@pytest.mark.parametrize(
    "conv_mode,heads",
    [*((mode, heads) for mode in ("2D", "3D", "sparse") for heads in ({}, HEADS)), ("sparse", SITES)],
    ids=["2D", "2D_heads", "3D", "3D_heads", "sparse", "sparse_heads", "sparse_sites"],
)
def test_every_signature_gives_what_predict_and_evaluate_give(conv_mode, heads, events, tmp_path):
    batch = make_batch(events, 2, events[0].shape)
    segmenter, signatures = saved(conv_mode, tmp_path / "model", events[0].shape, **heads)
    prepared = segmenter.prepare(batch) if segmenter.prepare else batch
    scores = np.asarray(PixelPredictor(segmenter, xla=False).predict_on_batch(prepared)[PIXELS])
    real = batch["image_coordinates"][..., 0] >= 0
    assert np.ptp(scores[real]) > 1e-2

    planes = [np.stack([e.image[p].dense(e.shape.height, e.shape.width) for e in events]) for p in range(3)]
    images = tf.constant(np.stack(planes, axis=-1))
    lists = {"coordinates": batch["image_coordinates"], "values": batch["image_values"]}
    dense = signatures["dense"](images=images)
    pixels = signatures["pixels"](**{name: tf.constant(array) for name, array in lists.items()})
    np.testing.assert_allclose(pixels["scores"].numpy()[real], scores[real], atol=1e-5)
    event, plane, place = np.nonzero(real)
    rows, columns = batch["image_coordinates"][event, plane, place].T
    np.testing.assert_allclose(dense["scores"].numpy()[event, rows, columns, plane], scores[real], atol=1e-5)
    np.testing.assert_array_equal(signatures["flat"](images=images)["scores"], np.reshape(dense["scores"], (2, -1)))

    given = {name: set(signature.structured_outputs) for name, signature in signatures.items()}
    if not heads:
        assert given == OUTPUTS_WITHOUT_HEADS
        return
    several = ("dense", "pixels", "serving_default")
    assert given == OUTPUTS_WITHOUT_HEADS | {name: {"scores", *EVENTS} for name in several} | {"events": EVENTS}
    calibrated = CalibratedSegmenter(segmenter, Calibration(), WorkingPoint())
    evaluated = DetailedEvaluator(calibrated, "light", xla=False).predict_on_batch(prepared)
    for results in (dense, pixels, signatures["events"](images=images)):
        places = np.clip(evaluated["vertices"], 0, (events[0].shape.height, events[0].shape.width))
        np.testing.assert_allclose(results["vertices"], places, atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(results["vertex_scores"], evaluated["vertex_scores"], atol=1e-5)
        np.testing.assert_allclose(results["event_logits"], evaluated[EVENT], atol=1e-5)
        calibrated = tf.nn.softmax(results["event_logits"] / TEMPERATURE)
        np.testing.assert_allclose(results["event_probabilities"], calibrated, atol=1e-6)


def test_the_metadata_names_the_classes_of_events_where_there_are_some(tmp_path, events):
    saved("2D", tmp_path / "headed", events[0].shape, **HEADS)
    metadata = json.loads((tmp_path / "headed/metadata.json").read_text())
    assert metadata["event_classes"] == ["nue_cc", "numu_cc", "nc", "cosmic_only"]
    assert metadata["signatures"]["events"] == metadata["signatures"]["dense"]
