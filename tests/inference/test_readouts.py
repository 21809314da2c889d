"""What heads tell of readouts: points in the detector come back from the planes' cells; nothing is made of nothing."""

import numpy as np
import pytest

from cosmictagger_tf import geometry
from cosmictagger_tf.calibration.probabilities import CalibrationError
from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.detector import COSMIC_ONLY, NUMU_CC, UNKNOWN_EVENT_CLASS, ImageShape
from cosmictagger_tf.inference.readouts import errors_within, read_out
from cosmictagger_tf.networks.segmentation import EVENT, VERTEX
from cosmictagger_tf.vertex_fit import VertexErrors, places_of

SBND = ImageShape()
POINT = np.array([-59.4, 32.3, 250.2])
ERRORS = VertexErrors((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5))


def cells_of(places, readouts=1, side=8):
    """Cells of images of SBND's shape, with (score, place) for each of a list a plane; the last readout is empty."""
    cells = np.zeros((readouts + 1, 3, SBND.height // side, SBND.width // side, 3), np.float32)
    for plane, candidates in enumerate(places):
        for score, place in candidates:
            cell = np.floor(np.array(place) / side).astype(int)
            cells[:readouts, plane, cell[0], cell[1]] = (score, *(np.array(place) / side - cell))
    return cells


def test_the_triple_that_agrees_wins_over_better_scores():
    true = places_of(POINT)
    elsewhere = [(400, 1000), (900, 300), (1100, 1500)]
    cells = cells_of([[(0.5, true[p]), (0.8, elsewhere[p])] for p in range(3)])
    predicted = read_out({VERTEX: cells}, SBND, 2, Calibration(vertex_errors=ERRORS))
    np.testing.assert_allclose(predicted.vertices[0], true, atol=1e-3)
    np.testing.assert_allclose(predicted.scores[0], 0.5)
    np.testing.assert_allclose(predicted.points[0], POINT, atol=1e-3)
    assert predicted.agreement[0] > 0.99
    # cm: a pixel on three planes is 0.18 along the drift, beside what all planes share.
    np.testing.assert_allclose(np.sqrt(predicted.covariances[0, 0, 0]), np.hypot(0.3125 / np.sqrt(3), 0.5), rtol=1e-6)


def test_a_plane_of_which_nothing_fits_has_the_points_own_place_and_no_score():
    true = places_of(POINT)
    cells = cells_of([[(0.9, true[0])], [(0.9, (1100, 300))], [(0.9, true[2])]])
    predicted = read_out({VERTEX: cells}, SBND, 2, Calibration(vertex_errors=ERRORS))
    np.testing.assert_allclose(predicted.vertices[0], true, atol=1e-3)
    np.testing.assert_allclose(predicted.scores[0], [0.9, np.nan, 0.9])
    np.testing.assert_allclose(predicted.points[0], POINT, atol=1e-3)


@pytest.mark.parametrize(
    "shape, places",
    [
        (ImageShape(3, 1280, 4096), [(100, 200), (500, 900), (1000, 1900)]),
        (ImageShape(2), [(100, 200), (500, 900)]),
        # Beyond the first wires: no two of them give a point in the detector.
        (SBND, [(100, 10), (500, 10), (1000, 10)]),
    ],
)
def test_without_a_geometry_or_a_point_each_plane_has_its_best(shape, places):
    cells = np.zeros((1, shape.planes, shape.height // 8, shape.width // 8, 3), np.float32)
    for plane, (row, column) in enumerate(places):
        cells[0, plane, 80, 0] = (0.3, 0.5, 0.5)
        cells[0, plane, row // 8, column // 8] = (0.9, row / 8 % 1, column / 8 % 1)
    predicted = read_out({VERTEX: cells}, shape, 1)
    np.testing.assert_allclose(predicted.vertices[0], places, rtol=1e-5)
    np.testing.assert_allclose(predicted.scores, 0.9)
    assert (
        np.isnan(predicted.points).all()
        and np.isnan(predicted.covariances).all()
        and np.isnan(predicted.agreement).all()
    )


def test_planes_that_disagree_keep_their_own_places():
    places = [(100, 900), (500, 900), (1000, 900)]
    predicted = read_out({VERTEX: cells_of([[(0.9, place)] for place in places])}, SBND, 2)
    np.testing.assert_allclose(predicted.vertices[0], places)
    assert np.isfinite(predicted.points[0]).all() and predicted.agreement[0] < 1e-9


def test_empty_readouts_and_planes_and_heads_that_are_not_there():
    predicted = read_out({VERTEX: cells_of([[], [(0.7, (640.5, 900.5))], []])}, SBND, 2)
    np.testing.assert_allclose(predicted.vertices[0], [[np.nan] * 2, [640.5, 900.5], [np.nan] * 2])
    np.testing.assert_allclose(predicted.scores, [[np.nan, 0.7, np.nan], [np.nan] * 3])
    for missing in (
        predicted.points,
        predicted.covariances,
        predicted.agreement,
        predicted.probabilities,
        predicted.has_neutrino,
    ):
        assert len(missing) == 2 and np.isnan(missing).all()
    assert predicted.classes.tolist() == [UNKNOWN_EVENT_CLASS] * 2
    without = read_out({}, SBND, 3)
    assert without.vertices.shape == (3, 3, 2) and np.isnan(without.vertices).all() and np.isnan(without.scores).all()
    assert len(read_out({VERTEX: np.zeros((0, 3, 160, 256, 3)), EVENT: np.zeros((0, 4))}, SBND, 0).classes) == 0


def test_classes_and_probabilities_at_the_experiments_prior():
    logits = np.log([[0.1, 0.6, 0.1, 0.2], [0.01, 0.02, 0.07, 0.9]])
    predicted = read_out({EVENT: logits}, SBND, 2)
    np.testing.assert_allclose(predicted.probabilities, np.exp(logits))
    assert predicted.classes.tolist() == [NUMU_CC, COSMIC_ONLY]
    np.testing.assert_allclose(predicted.has_neutrino, [0.8, 0.1])
    rare = read_out({EVENT: logits}, SBND, 2, Calibration(training_prior=0.5), prior=0.1)
    np.testing.assert_allclose(rare.has_neutrino[0], 0.8 * 0.2 / (0.8 * 0.2 + 0.2 * 1.8))
    assert rare.classes.tolist() == [COSMIC_ONLY, COSMIC_ONLY]
    with pytest.raises(CalibrationError, match="that of the training is not known"):
        read_out({EVENT: logits}, SBND, 2, prior=0.1)


def test_errors_that_no_one_fitted_are_those_of_a_place_anywhere_in_its_cell():
    errors = errors_within(np.array([12.0, 24.0]), 3)
    np.testing.assert_allclose(errors.of_places, [np.array([12, 24]) / np.sqrt(12)] * 3)
    cells = cells_of([[(0.5, place)] for place in places_of(POINT)])
    predicted = read_out({VERTEX: cells}, SBND, 2)
    np.testing.assert_allclose(
        np.sqrt(predicted.covariances[0, 0, 0]), 8 / 12**0.5 * geometry.CM_PER_ROW / 3**0.5, rtol=1e-6
    )
