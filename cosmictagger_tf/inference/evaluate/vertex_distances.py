"""How far predicted vertices are from the true ones: on each plane, and in the detector.

Which vertices count as true: those of truth.Truth, none for a readout of cosmic rays only. In the detector the truth is
the apparent point (`true_points`): an image cannot separate a late arrival from a longer drift. The true x is compared
as well, with the mean of the neutrinos' times taken off, as an experiment knows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.inference.evaluate.confidence import ENDS, drawn_events, wilson

QUANTILES = (0.5, 0.68)
# In the unit of the distances: cm, if they are.
NEAR = 5.0
NO_INTERVAL = (np.nan, np.nan)


@dataclass(frozen=True)
class DistanceSummary:
    """Distances in short; NaN where nothing is counted. Intervals are of 95 %.

    Attributes:
        events: that have a true vertex.
        median, quantile_68: infinite where so many vertices are not predicted at all.
        near: share of the vertices that are predicted within NEAR.
        median_interval, quantile_68_interval: from events drawn again; NaN without drawings.
        near_interval: Wilson's interval with one trial per event, since the planes of an event are not independent.
    """

    events: int
    median: float
    quantile_68: float
    near: float
    median_interval: tuple[float, float]
    quantile_68_interval: tuple[float, float]
    near_interval: tuple[float, float]


def true_points(neutrinos: Sequence[Neutrino] | None) -> np.ndarray | None:
    """The apparent points of interactions: float64 [n, 3] in cm, of those in the active volume.

    None where the file does not tell of the neutrinos, or of one's vertex.
    """
    if neutrinos is None or any(neutrino.vertex is None for neutrino in neutrinos):
        return None
    vertices = np.array([neutrino.vertex for neutrino in neutrinos]).reshape(-1, 4)
    vertices = vertices[geometry.inside(vertices[:, :3])]
    return geometry.apparent(vertices[:, :3], vertices[:, 3])


def distances(
    predicted: np.ndarray, true: Sequence[np.ndarray | None], unit: Sequence[float] | float = 1.0
) -> np.ndarray:
    """The distance of each event's predicted vertex from the nearest true one.

    Args:
        predicted: float [events, planes, 2], (row, column) in pixels, or [events, 3], points in cm; NaN where there is
            none.
        true: of each event [V, planes, 2] or [V, 3], NaN on planes where it is outside the image; V = 0 without a
            vertex, None where it is not known.
        unit: what a step along each of the last axis is worth, such as geometry.PIXEL_CM.

    Returns:
        float64, [events, planes] or [events]: infinite where there is a true vertex and none predicted, NaN where
        there is no true one.
    """
    away = np.full(np.shape(predicted)[:-1], np.nan)
    for event, (place, vertices) in enumerate(zip(predicted, true, strict=True)):
        if vertices is not None and len(vertices):
            each = np.linalg.norm((place - vertices) * unit, axis=-1)
            each = np.where(np.isnan(each) & np.isfinite(vertices).all(axis=-1), np.inf, each)
            away[event] = np.fmin.reduce(each, axis=0)
    return away


def true_x_distances(points: np.ndarray, neutrinos: Sequence[Neutrino | None], mean_time: float) -> np.ndarray:
    """How far the x of predicted points is from the true x, which their arrival time hides.

    Args:
        points: float [events, 3], apparent, cm; NaN where there is none.
        neutrinos: the one of each event; None where there is none, several, or it is not known. One without a vertex
            in the active volume does not count.
        mean_time: of the neutrinos, us after the readout's trigger; taken off the points.

    Returns:
        float64 [events], cm, as `distances` gives it.
    """
    vertices = [np.array(n.vertex[:3] if n and n.vertex else [np.nan] * 3) for n in neutrinos]
    true = [vertex[None, :1] if geometry.inside(vertex) else None for vertex in vertices]
    return distances(geometry.apparent(points, -mean_time)[:, :1], true)


def summary(distances: np.ndarray, drawings: int, seed: int) -> DistanceSummary:
    """Of distances [events] or [events, planes]; of several planes together.

    Args:
        distances: NaN where nothing is to be counted; see `distances`.
        drawings: how often the events are drawn again for the intervals of the quantiles.
        seed: of the drawing.
    """
    distances = distances[:, None] if distances.ndim == 1 else distances
    distances = distances[~np.isnan(distances).all(axis=1)]
    events = len(distances)
    if not events:
        return DistanceSummary(0, np.nan, np.nan, np.nan, NO_INTERVAL, NO_INTERVAL, NO_INTERVAL)
    of_event, plane = np.nonzero(~np.isnan(distances))
    values = distances[of_event, plane]
    order = np.argsort(values)
    ranked, of_event = values[order], of_event[order]
    median, quantile_68 = _quantiles(ranked, np.ones((1, len(ranked))))[0].tolist()
    # One event drawn again is the same: its interval would have no width.
    drawn = [_quantiles(ranked, weights[:, of_event]) for weights in drawn_events(events, drawings, seed)]
    of_median = of_68 = NO_INTERVAL
    if drawn and events > 1:
        low, high = np.quantile(np.concatenate(drawn), ENDS, axis=0, method="inverted_cdf").tolist()
        of_median, of_68 = zip(low, high, strict=True)
    near = float(np.mean(values <= NEAR))
    return DistanceSummary(events, median, quantile_68, near, of_median, of_68, wilson(near, events))


def _quantiles(ranked, weights) -> np.ndarray:
    # float64 [rows of weights, QUANTILES]: the least of the ranked values that has such a part of the weight up to it.
    upto = np.cumsum(weights, axis=1)
    places = [(upto >= part * upto[:, -1:]).argmax(axis=1) for part in QUANTILES]
    return np.stack([ranked[place] for place in places], axis=1)
