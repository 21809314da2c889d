"""The vertex in the detector, from its places in the three planes' images.

Both coordinates of a place are linear in the point (geometry.py), in both TPCs:

    row = (x + 200 cm) / 0.3125 cm        column_p = c_p + (a_p y + b_p z) / 0.3 cm

So three planes give six numbers for three unknowns: the weighted least-squares fit is a closed form, and its chi-square
has three degrees of freedom (two rows, and that any two columns give the third); of two planes it has one. Whether the
planes see one point is told by the chi-square. x is the apparent one, see geometry.apparent.

All places are in pixels of SBND's file: those of a network at lower resolution are multiplied by 2**downsample. Of
other detectors nothing is known; geometry.unknown gives the reason.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.detector import SBND_PLANES

# A plane that is left out costs as much as a candidate of this score.
SCORE_OF_NONE = 0.03
# Candidates whose chi-square is this count half as much. The errors are those of vertices that were recognised; their
# tails are long, so that chi-square / 2 would prefer wrong candidates that agree by chance. Of 328 simulated readouts
# (seed 908, the weights of commit 16adf2c) all planes were within 5 cm in 80 % with it, in 90 % so, as with 18 and 72.
HALVED_AT = 32.0
# Planes whose agreement is less likely than this do not see one point.
LEAST_AGREEMENT = 1e-4
# cm that errors may lift a vertex out of the active volume.
MARGIN = 5.0
# Errors are no smaller than those of a place that is anywhere in its pixel.
LEAST_ERROR = 1 / math.sqrt(12)
# Errors are widths of the middle part that would be within one standard deviation; what is further away than TAIL
# widths is of a vertex that was not recognised, and does not count.
WITHIN_ONE, MEDIAN_WIDTHS, TAIL, ROUNDS = math.erf(math.sqrt(0.5)), 1.4826, 4.0, 10
FEWEST_VERTICES = 20


@dataclass(frozen=True)
class VertexErrors:
    """How precise predicted vertices are; fit_errors fits them.

    Attributes:
        rows: standard deviation of each plane's own error along the drift time, pixels.
        columns: the same along the wires.
        shared: standard deviation of the errors in x, y and z that all planes make together, as where they call another
            point of a track the vertex, in cm. The planes cannot tell it; it adds to the uncertainty of the point.

    Raises:
        ValueError: they are not those of as many planes, or one is no size of an error.
    """

    rows: tuple[float, ...]
    columns: tuple[float, ...]
    shared: tuple[float, ...] = (0.0, 0.0, 0.0)

    def __post_init__(self):
        if len(self.rows) != len(self.columns) or len(self.shared) != 3:
            raise ValueError("errors are one a plane in rows and in columns, and three that are shared")
        if not all(0 < error < math.inf for error in self.rows + self.columns):
            raise ValueError("the errors of a plane must be finite and above 0")
        if not all(0 <= error < math.inf for error in self.shared):
            raise ValueError("shared errors must be finite and not below 0")

    @property
    def of_places(self) -> np.ndarray:
        """float64 [planes, 2], those of (row, column)."""
        return np.stack([self.rows, self.columns], axis=-1)


class VertexFit(NamedTuple):
    """Fitted points.

    Attributes:
        points: float64 [..., 3], apparent x, y, z in cm; NaN where fewer than two planes have a place.
        covariances: float64 [..., 3, 3], cm^2, likewise.
        pulls: float64 [..., planes, 2], what the places differ by from those of the point, over their errors; NaN on
            planes without a place.
    """

    points: np.ndarray
    covariances: np.ndarray
    pulls: np.ndarray

    @property
    def chi_squares(self) -> np.ndarray:
        """float64 [...]: how much the planes disagree; NaN where there is no point."""
        return np.where(self.degrees > 0, np.nansum(self.pulls**2, axis=(-2, -1)), np.nan)

    @property
    def degrees(self) -> np.ndarray:
        """int [...], degrees of freedom of the chi-square; 0 where there is no point."""
        return np.maximum(np.isfinite(self.pulls).sum(axis=(-2, -1)) - 3, 0)

    @property
    def probabilities(self) -> np.ndarray:
        """float64 [...], that planes which see one point disagree as much or more; NaN where there is no point.

        Of two planes and of three these are comparable, as chi-squares are not: cut on them.
        """
        half = np.sqrt(self.chi_squares / 2)
        # The chi-square distributions of one and of three degrees of freedom.
        one = np.vectorize(math.erfc, otypes=[float])(half)
        return one + np.where(self.degrees == 3, 2 / math.sqrt(math.pi) * half * np.exp(-(half**2)), 0.0)


def places_of(points: np.ndarray) -> np.ndarray:
    """Where apparent points [..., 3] (cm) lie on each plane: float64 [..., planes, 2], (row, column), not clipped."""
    origin, slopes = _linear()
    return origin + np.einsum("pci,...i->...pc", slopes, points)


def fit_points(places: np.ndarray, errors: VertexErrors) -> VertexFit:
    """The points that lie nearest to the places of each plane, in units of their errors.

    Args:
        places: float [..., planes, 2], (row, column); NaN on planes without a vertex.
        errors: of the places.
    """
    origin, slopes = _linear()
    places = np.asarray(places, float)
    seen = np.isfinite(places).all(axis=-1, keepdims=True)
    weights = np.where(seen, errors.of_places**-2.0, 0.0)
    solvable = seen.sum(axis=(-2, -1)) > 1
    normal = np.einsum("...pc,pci,pcj->...ij", weights, slopes, slopes)
    inverse = np.linalg.inv(np.where(solvable[..., None, None], normal, np.eye(3)))
    moved = np.where(seen, places - origin, 0.0)
    points = np.einsum("...ij,pcj,...pc->...i", inverse, slopes, weights * moved)
    points[~solvable], inverse[~solvable] = np.nan, np.nan
    pulls = np.where(seen, places - places_of(points), np.nan) / errors.of_places
    return VertexFit(points, inverse + np.diag(np.square(errors.shared)), pulls)


def fit_errors(predicted: np.ndarray, true: np.ndarray) -> VertexErrors:
    """The errors of predicted vertices, from events whose vertex is known, such as those of a validation.

    First the width of predicted - true, on each plane and axis. Then what of it is the planes' own: those of the rows
    and those of the columns are scaled so that the planes disagree as much as chi-squares say. What this leaves
    unexplained of the points' distances from the true ones is shared.

    Args:
        predicted, true: float [events, planes, 2], (row, column); NaN on planes without one. Of an event with several
            true vertices take that which was predicted, or leave the event out.

    Raises:
        ValueError: fewer than FEWEST_VERTICES events have both on all planes, most of them near each other.
    """
    places = np.stack([predicted, true]).astype(float)
    places = places[:, np.isfinite(places).all(axis=(0, -2, -1))]
    widths, core = _core(np.abs(places[0] - places[1]))
    disagreement = (fit_points(places[0, core], _errors(widths)).pulls ** 2).sum(axis=-2)
    # That of the rows has two degrees of freedom, that of the columns one.
    expected = np.array([-2 * math.log(1 - WITHIN_ONE), 1.0])
    own = _errors(widths * np.sqrt(np.quantile(disagreement, WITHIN_ONE, axis=0) / expected))
    points, covariances, _ = fit_points(places[:, core], own)
    moved = np.quantile(np.abs(points[0] - points[1]), WITHIN_ONE, axis=0)
    shared = np.sqrt(np.maximum(moved**2 - np.diagonal(covariances[0, 0]), 0.0))
    return replace(own, shared=tuple(shared.tolist()))


def _core(distances) -> tuple[np.ndarray, np.ndarray]:
    # Of |predicted - true|, [events, planes, 2]: their widths, and which events are within TAIL of them everywhere.
    # It begins with the median, which half of the events may spoil.
    widths = np.median(distances, axis=0) * MEDIAN_WIDTHS if len(distances) else np.zeros(distances.shape[1:])
    for _ in range(ROUNDS):
        core = (distances <= TAIL * np.maximum(widths, LEAST_ERROR)).all(axis=(-2, -1))
        if core.sum() < FEWEST_VERTICES:
            raise ValueError(f"{core.sum()} vertices are recognised on all planes: errors need {FEWEST_VERTICES}")
        widths = np.quantile(distances[core], WITHIN_ONE, axis=0)
    return widths, core


def _errors(widths) -> VertexErrors:
    rows, columns = np.maximum(widths, LEAST_ERROR).T.tolist()
    return VertexErrors(tuple(rows), tuple(columns))


def best_candidates(places: np.ndarray, scores: np.ndarray, errors: VertexErrors) -> tuple[np.ndarray, VertexFit]:
    """Of the best few places of each plane, those that agree.

    They have the greatest sum of log(score) less log(1 + chi-square / HALVED_AT): a law with long tails. A plane on
    which nothing fits is left out, at the cost of SCORE_OF_NONE; two must be left. Points that lie further than MARGIN
    outside the active volume are no vertices.

    Args:
        places: float [..., planes, k, 2], (row, column); NaN where a plane has fewer candidates.
        scores: float [..., planes, k], their probabilities.
        errors: of the places.

    Returns:
        int64 [..., planes], the chosen candidate of each plane, -1 where the plane is left out, or where no two planes
        give a point in the detector; and the fit of the chosen ones.
    """
    *_, planes, few = np.shape(scores)
    choices = np.array(list(itertools.product(range(-1, few), repeat=planes)))
    every = np.arange(planes)
    # The last candidate, which -1 stands for, is none.
    places = np.concatenate([places, np.full((*np.shape(scores)[:-1], 1, 2), np.nan)], axis=-2)
    with np.errstate(divide="ignore"):
        worth = np.log(np.where(np.isfinite(places[..., :-1, :]).all(axis=-1), scores, 0.0))
    worth = np.concatenate([worth, np.full((*worth.shape[:-1], 1), math.log(SCORE_OF_NONE))], axis=-1)
    fit = fit_points(places[..., every, choices, :], errors)
    likelihood = worth[..., every, choices].sum(axis=-1) - np.log1p(fit.chi_squares / HALVED_AT)
    likelihood = np.where(geometry.inside(fit.points, MARGIN), likelihood, -np.inf)
    best = likelihood.argmax(axis=-1)
    possible = np.isfinite(likelihood.max(axis=-1, keepdims=True))
    chosen = np.where(possible, choices[best], -1)
    return chosen, fit_points(np.take_along_axis(places, chosen[..., None, None], axis=-2)[..., 0, :], errors)


def _linear() -> tuple[np.ndarray, np.ndarray]:
    # [planes, 2] and [planes, 2, 3]: (row, column) of the point 0, 0, 0, and by how much they grow with x, y and z.
    origin, slopes = np.zeros((SBND_PLANES, 2)), np.zeros((SBND_PLANES, 2, 3))
    origin[:, 0], slopes[:, 0, 0] = geometry.HALF_X / geometry.CM_PER_ROW, 1 / geometry.CM_PER_ROW
    for plane in range(SBND_PLANES):
        at_zero, along_y, along_z = geometry.columns(np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]), plane)
        origin[plane, 1], slopes[plane, 1, 1:] = at_zero, (along_y - at_zero, along_z - at_zero)
    return origin, slopes
