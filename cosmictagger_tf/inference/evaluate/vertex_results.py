"""What an evaluation tells of vertices: how far they are from the true ones, on the planes and in the detector."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.truth import FEWEST_NEUTRINO_PIXELS
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.vertex_distances import (
    NEAR,
    DistanceSummary,
    distances,
    summary,
    true_points,
    true_x_distances,
)
from cosmictagger_tf.text import counted

# Which readouts, what is measured (one plane or all, in a unit, or the point) -> summary.
VertexResults = dict[str, dict[str, DistanceSummary]]
ALL_READOUTS, SELECTED = "readouts with a vertex", "of them those kept at the working point selection"


class PointDistances(NamedTuple):
    """How far predicted points are off, cm: float64 [events], see vertex_distances.distances.

    Attributes:
        apparent: from the true apparent points.
        true_x: in x, from the true ones, with the mean time of these neutrinos taken off; see true_x_distances.
    """

    apparent: np.ndarray
    true_x: np.ndarray


def point_distances(details: EventDetails, interactions: Sequence[Sequence[Neutrino] | None]) -> PointDistances | None:
    """How far predicted points are off; None without a vertex head, and in images whose geometry is not known.

    A readout of cosmic rays only has no true one, whatever its interactions.
    """
    if details.points is None:
        return None
    seen = details.true_pixels >= FEWEST_NEUTRINO_PIXELS
    true = [true_points(those if there else ()) for those, there in zip(interactions, seen, strict=True)]
    only = [
        those[0] if there and those and len(those) == 1 else None
        for those, there in zip(interactions, seen, strict=True)
    ]
    times = [neutrino.vertex[3] for neutrino in only if neutrino and neutrino.vertex]
    mean_time = float(np.mean(times)) if times else 0.0
    return PointDistances(distances(details.points, true), true_x_distances(details.points, only, mean_time))


def vertex_results(
    details: EventDetails, points: PointDistances | None, kept: np.ndarray | None, drawings: int, seed: int
) -> VertexResults | None:
    """The summaries; None without a vertex head.

    Args:
        details: of the events.
        points: see point_distances.
        kept: bool [events], at the working point selection; None where that selects no readouts.
        drawings: how often the events are drawn again for the intervals.
        seed: of the drawing.
    """
    if details.vertex_pixels is None:
        return None
    measured: dict[str, np.ndarray] = {}
    for unit, values in (("pixels", details.vertex_pixels), ("cm", details.vertex_cm)):
        if values is not None:
            measured |= {f"plane {plane}, {unit}": values[:, plane] for plane in range(values.shape[1])}
            measured[f"all planes, {unit}"] = values
    if points is not None:
        measured |= {"in the detector, cm": points.apparent, "true x, cm": points.true_x}
    sets = {ALL_READOUTS: np.ones(len(details.true_pixels), bool)} | ({} if kept is None else {SELECTED: kept})
    return {
        title: {name: summary(values[chosen], drawings, seed) for name, values in measured.items()}
        for title, chosen in sets.items()
    }


def vertex_lines(results: VertexResults) -> list[str]:
    """The summaries as text; which readouts lack what is named."""
    lines = ["distance of predicted and true vertices"]
    for title, measured in results.items():
        events = max(each.events for each in measured.values())
        if not events:
            lines += ["", f"{title}: none in the truth"]
            continue
        lines += ["", f"{title}: {counted(events, 'readout')}"]
        lines += [f"{'':24}{'median':>9}{'68 %':>9}{f'within {NEAR:g}':>11}   95 % intervals"]
        lines += [f"  {name:22}{_numbers(each)}" for name, each in measured.items()]
    return lines


def _numbers(each: DistanceSummary) -> str:
    if not each.events:
        return "   none in the truth"
    ends = ["{:.3g} to {:.3g}".format(*ends) for ends in (each.median_interval, each.quantile_68_interval)]
    near = "{:.1%} to {:.1%}".format(*each.near_interval)
    shown = [*ends, near] if np.isfinite(each.median_interval).all() else [near]
    return f"{each.median:9.3g}{each.quantile_68:9.3g}{each.near:11.1%}   {', '.join(shown)}"


def describe_vertices(results: VertexResults | None) -> dict | None:
    """Every number, for JSON."""
    if results is None:
        return None
    return {title: {name: asdict(each) for name, each in measured.items()} for title, measured in results.items()}


def vertex_columns(details: EventDetails, points: PointDistances | None) -> dict[str, np.ndarray]:
    """Columns of a table with a line an event: the distances of each plane and of the point; none without a head."""
    columns: dict[str, np.ndarray] = {}
    for unit, values in (("pixels", details.vertex_pixels), ("cm", details.vertex_cm)):
        if values is not None:
            columns |= {f"vertex_distance_{unit}/plane{plane}": values[:, plane] for plane in range(values.shape[1])}
    if points is not None:
        columns |= {"point_distance_cm": points.apparent, "true_x_distance_cm": points.true_x}
    return columns
