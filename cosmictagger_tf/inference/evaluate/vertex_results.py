"""What an evaluation tells of vertices: how far they are from the true ones, on the planes and in the detector."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.truth import FEWEST_NEUTRINO_PIXELS
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.vertex_distances import NEAR, DistanceSummary, distances, summary, true_points
from cosmictagger_tf.text import counted

# Which readouts, what is measured (one plane or all, in a unit, or the point) -> summary.
VertexResults = dict[str, dict[str, DistanceSummary]]
ALL_READOUTS, SELECTED = "readouts with a vertex", "of them those kept at the working point selection"


def point_distances(details: EventDetails, interactions: Sequence[Sequence[Neutrino] | None]) -> np.ndarray | None:
    """How far predicted points are from the true apparent ones, cm: float64 [events]; see vertex_distances.distances.

    A readout of cosmic rays only has none, whatever its interactions. None without a vertex head.
    """
    if details.points is None:
        return None
    seen = details.true_pixels >= FEWEST_NEUTRINO_PIXELS
    true = [true_points(those if there else ()) for those, there in zip(interactions, seen, strict=True)]
    return distances(details.points, true)


def vertex_results(
    details: EventDetails, points: np.ndarray | None, kept: np.ndarray | None, drawings: int, seed: int
) -> VertexResults | None:
    """The summaries; None without a vertex head.

    Args:
        details: of the events.
        points: see point_distances.
        kept: bool [events], at the working point selection; None where that selects no readouts.
        drawings: how often the events are drawn again for the intervals.
        seed: of the drawing.
    """
    if details.vertex_pixels is None or details.points is None:
        return None
    measured: dict[str, np.ndarray] = {}
    for unit, values in (("pixels", details.vertex_pixels), ("cm", details.vertex_cm)):
        if values is not None:
            measured |= {f"plane {plane}, {unit}": values[:, plane] for plane in range(values.shape[1])}
            measured[f"all planes, {unit}"] = values
    if points is not None and np.isfinite(details.points).any():
        measured["in the detector, cm"] = points
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


def vertex_columns(details: EventDetails, points: np.ndarray | None) -> dict[str, np.ndarray]:
    """Columns of a table with a line an event: the distances of each plane and of the point; none without a head."""
    columns: dict[str, np.ndarray] = {}
    for unit, values in (("pixels", details.vertex_pixels), ("cm", details.vertex_cm)):
        if values is not None:
            columns |= {f"vertex_distance_{unit}/plane{plane}": values[:, plane] for plane in range(values.shape[1])}
    return columns | ({} if points is None else {"vertex_distance_cm": points})
