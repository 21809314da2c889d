"""What is kept of events: without fillers and padding, the same after a file, and refused where it is not finite."""

import numpy as np
import pytest

from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.data.dataset import SyntheticReader
from cosmictagger_tf.data.sampling import FILLER
from cosmictagger_tf.detector import BACKGROUND, COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.predict.event_predictions import Usage, from_arrays, predictions_of, to_arrays
from cosmictagger_tf.networks.segmentation import EVENT, PIXELS, VERTEX

SHAPE = ImageShape(2, 64, 64)
USAGE = Usage(SHAPE, 1, Calibration())
# Pixels a plane of each event; the second event has none at all.
LENGTHS = np.array([[3, 2], [0, 0], [1, 4]])
READER = SyntheticReader(8, SHAPE)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    coordinates = np.full((4, 2, 5, 2), -1, np.int32)
    for place in np.ndindex(LENGTHS.shape):
        coordinates[place][: LENGTHS[place]] = rng.integers(0, 32, (LENGTHS[place], 2))
    return {"image_coordinates": coordinates, "entries": np.array([5, 6, 7, FILLER])}


@pytest.fixture
def outputs():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 2, 5, 3))
    scores = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return {
        PIXELS: scores.astype(np.float32),
        EVENT: rng.normal(size=(4, 4)).astype(np.float32),
        VERTEX: rng.random((4, 2, 8, 8, 3)).astype(np.float32),
    }


def test_each_event_has_its_own_pixels_and_its_own_readout(batch, outputs):
    predictions = predictions_of(batch, outputs, USAGE, READER)
    assert [[len(plane) for plane in event.scores] for event in predictions] == LENGTHS.tolist()
    for number, event in enumerate(predictions):
        called = np.argmax(outputs[PIXELS][number], axis=-1)
        for plane, length in enumerate(LENGTHS[number]):
            np.testing.assert_array_equal(
                event.scores[plane], outputs[PIXELS][number, plane, :length][:, [NEUTRINO, COSMIC]]
            )
            neutrino = called[plane, :length] == NEUTRINO
            assert event.neutrino_pixels[plane] == neutrino.sum()
            rows = batch["image_coordinates"][number, plane, :length, 0][neutrino]
            # The middle of a network's pixel, two of the file's a side, lies between both.
            expected = (2 * rows + 0.5).mean() if neutrino.any() else np.nan
            assert event.mean_rows[plane] == pytest.approx(expected, nan_ok=True)
        assert event.called is None and event.readout.classes == [np.argmax(outputs[EVENT][number])]
        assert event.readout.scores[0, 0] == pytest.approx(outputs[VERTEX][number, 0, ..., 0].max())


def test_a_network_without_heads_tells_nothing_of_readouts(batch, outputs):
    predictions = predictions_of(batch, {PIXELS: outputs[PIXELS]}, USAGE, READER)
    assert len(predictions) == 3 and all(event.readout is None for event in predictions)
    assert set(to_arrays(predictions)) == {"lengths", "scores", "neutrino_pixels", "mean_rows"}


def test_a_part_comes_back_from_its_arrays(batch, outputs):
    usage = Usage(SHAPE, 1, Calibration(), cleaned_at=WorkingPoint())
    for given in (outputs, {PIXELS: outputs[PIXELS]}):
        predictions = predictions_of(batch, given, usage, READER)
        arrays = to_arrays(predictions)
        for one, other in zip(predictions, from_arrays(arrays), strict=True):
            assert (one.readout is None) == (other.readout is None)
            np.testing.assert_equal([one.scores, one.called], [other.scores, other.called])
            np.testing.assert_equal([one.neutrino_pixels, one.mean_rows], [other.neutrino_pixels, other.mean_rows])
            if one.readout is not None:
                np.testing.assert_equal(vars(one.readout), vars(other.readout))
        with pytest.raises(ValueError, match="scores is of another length"):
            from_arrays(arrays | {"scores": arrays["scores"][1:]})


def test_nothing_is_left_of_a_readout_that_the_working_point_does_not_keep(batch, outputs):
    outputs[EVENT][:3] = [[9, 0, 0, 0], [0, 0, 0, 9], [0, 0, 0, 9]]
    point = WorkingPoint(event_probability=0.9)
    calibration = Calibration(training_prior=0.5, selection=point)
    usage = Usage(SHAPE, 1, calibration, cleaned_at=point)
    for given, some in ((outputs, slice(1)), ({PIXELS: outputs[PIXELS]}, slice(3))):
        predictions = predictions_of(batch, given, usage, READER)
        for number, event in enumerate(predictions):
            for plane, length in enumerate(LENGTHS[number]):
                expected = np.argmax(outputs[PIXELS][number, plane, :length], axis=-1)
                if number not in range(3)[some]:
                    expected[:] = BACKGROUND
                np.testing.assert_array_equal(event.called[plane], expected)


@pytest.mark.parametrize(
    "name, place, line",
    [
        (PIXELS, (2, 1, 3, 0), r"entry 7, plane 1: .*the scores of 1 pixel are not finite"),
        (EVENT, (1, 2), "entry 6: .*what the event head gives is not finite"),
        (VERTEX, (0, 1, 3, 3, 2), "entry 5: .*what the vertex head gives is not finite"),
    ],
)
def test_what_is_not_finite_is_refused_by_event(batch, outputs, name, place, line):
    outputs[name][place] = np.nan
    with pytest.raises(DataError, match=line):
        predictions_of(batch, outputs, USAGE, READER)


def test_what_is_not_finite_where_nothing_is_does_not_matter(batch, outputs):
    outputs[PIXELS][0, 0, 4], outputs[EVENT][3], outputs[VERTEX][3] = np.nan, np.nan, np.nan
    assert len(predictions_of(batch, outputs, USAGE, READER)) == 3
