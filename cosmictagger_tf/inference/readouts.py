"""Predictions for whole readouts: class, probability of a neutrino, and where it interacted.

Out of the outputs of its heads (networks/heads.py), with the calibration of its weights and the experiment's prior. All
places are in pixels of the file's images, whose pixel 5 reaches from 5.0 to 6.0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.calibration.probabilities import neutrino_probability
from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.detector import N_EVENT_CLASSES, UNKNOWN_EVENT_CLASS, ImageShape
from cosmictagger_tf.inference.vertex_candidates import cell_sides, vertex_candidates, within
from cosmictagger_tf.networks.segmentation import EVENT, VERTEX
from cosmictagger_tf.vertex_fit import LEAST_AGREEMENT, VertexErrors, best_candidates, places_of


@dataclass(frozen=True)
class Readouts:
    """Predictions for readouts; NaN where the network lacks the head or there is no result.

    Attributes:
        probabilities: float64 [readouts, classes of a readout], they sum to 1.
        vertices: float64 [readouts, planes, 2], (row, column). Where two planes agree on a point, and the third has
            no candidate that belongs to it, that one's is the point's own place, without a score.
        scores: float64 [readouts, planes], the vertices' probability by the vertex head.
        points: float64 [readouts, 3], apparent x, y, z in cm; only where the geometry is known and two planes have a
            vertex. Whether they agree, `agreement` tells.
        covariances: float64 [readouts, 3, 3], of the points, cm^2.
        agreement: float64 [readouts], the chance that planes which see one point disagree as much or more.
    """

    probabilities: np.ndarray
    vertices: np.ndarray
    scores: np.ndarray
    points: np.ndarray
    covariances: np.ndarray
    agreement: np.ndarray

    @classmethod
    def join(cls, parts: Sequence["Readouts"]) -> "Readouts":
        """All of several, one after the other; they are of one network and images of one shape."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def select(self, which: slice | np.ndarray) -> "Readouts":
        """A subset, by slice or mask."""
        return Readouts(*(getattr(self, f.name)[which] for f in fields(self)))

    @property
    def classes(self) -> np.ndarray:
        """The most probable class of each, int64 [readouts], see detector.EVENT_CLASS_NAMES; unknown without a head."""
        known = np.isfinite(self.probabilities).all(axis=-1)
        return np.where(known, np.argmax(self.probabilities, axis=-1), UNKNOWN_EVENT_CLASS)

    @property
    def has_neutrino(self) -> np.ndarray:
        """P(the readout has a neutrino), float64 [readouts]."""
        return neutrino_probability(self.probabilities)


def read_out(
    heads: Mapping[str, np.ndarray],
    shape: ImageShape,
    readouts: int,
    calibration: Calibration | None = None,
    prior: float | None = None,
) -> Readouts:
    """What the heads' outputs of a batch mean.

    Args:
        heads: by name, as segmentation.heads_of gives them, as NumPy arrays: EVENT float [readouts, classes of a
            readout], logits; VERTEX float [readouts, planes, rows, columns, 3]. Either may be missing.
        shape: of the file's images, at full resolution.
        readouts: how many there are.
        calibration: of the weights; None: logits are taken as they come.
        prior: the experiment's share of readouts with a neutrino; None: the training's.

    Raises:
        CalibrationError: a logit of the event is not finite, or the prior cannot be put in.
    """
    calibration = calibration or Calibration()
    probabilities = np.full((readouts, N_EVENT_CLASSES), np.nan)
    if EVENT in heads:
        probabilities = calibration.event_probabilities(heads[EVENT], prior)
    if VERTEX in heads:
        return Readouts(probabilities, *_chosen_vertices(heads[VERTEX], shape, calibration.vertex_errors))
    places = np.full((readouts, shape.planes, 2), np.nan)
    return Readouts(probabilities, places, places[..., 0], *_no_points(readouts))


def _chosen_vertices(cells, shape, errors: VertexErrors | None):
    # Of Readouts the attributes from vertices on.
    places, scores = vertex_candidates(cells, shape)
    if geometry.unknown(shape):
        return places[:, :, 0], scores[:, :, 0], *_no_points(len(cells))
    chosen, fit = best_candidates(places, scores, errors or errors_within(cell_sides(cells, shape), shape.planes))
    number = np.maximum(chosen, 0)[..., None]
    vertices = np.take_along_axis(places, number[..., None], axis=2)[:, :, 0]
    chosen_scores = np.take_along_axis(scores, number, axis=2)[..., 0]
    # Planes that do not agree have no point for the others.
    from_point = (chosen < 0) & (fit.probabilities > LEAST_AGREEMENT)[:, None]
    vertices = np.where(from_point[..., None], within(places_of(fit.points), shape), vertices)
    return vertices, np.where(from_point, np.nan, chosen_scores), fit.points, fit.covariances, fit.probabilities


def errors_within(sides: np.ndarray, planes: int) -> VertexErrors:
    """The errors of places that are anywhere in their cell: for weights whose errors no one fitted.

    Args:
        sides: height and width of a cell, pixels.
        planes: how many.
    """
    row, column = (sides / math.sqrt(12)).tolist()
    return VertexErrors((row,) * planes, (column,) * planes)


def _no_points(readouts):
    return np.full((readouts, 3), np.nan), np.full((readouts, 3, 3), np.nan), np.full(readouts, np.nan)
