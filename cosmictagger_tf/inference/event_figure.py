"""The figure of an event: charge, truth, prediction and neutrino score, plane by plane."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cosmictagger_tf.detector import ADC_THRESHOLD, COSMIC, N_CLASSES, NEUTRINO
from cosmictagger_tf.figures import drawing, new_figure
from cosmictagger_tf.files import replaced_file
from cosmictagger_tf.geometry import CM_PER_ROW, PITCH, ROWS_PER_TPC
from cosmictagger_tf.inference.event_picture import (
    DRAWN_COLORS,
    NO_CHARGE,
    NO_CHARGE_COLOR,
    PREDICTED_VERTEX,
    SCORE_COLORS,
    TRUE_VERTEX,
    EventPicture,
    PlanePicture,
    charge_label,
    class_label,
    plane_name,
)

PANEL = (4.6, 3.1)  # inches
DPI = 160
# The smallest dot, in points: an image drawn smaller than its pixels would lose most of its single ones. At DPI it is a
# whole pixel, and a smaller one vanishes.
SMALLEST_DOT = 0.5
# A ring that shows what is in it, and a cross whose ends stand out of the ring.
VERTEX_MARKS: Any = {
    TRUE_VERTEX: {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": "black"},
    PREDICTED_VERTEX: {"marker": "x", "markersize": 9, "markeredgecolor": "#009e73", "markeredgewidth": 1.4},
}
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 12,
    "figure.titlesize": 13,
    "axes.linewidth": 0.7,
    "svg.fonttype": "none",
}


@drawing(STYLE)
def draw_event(picture: EventPicture, smallest_dot: float = SMALLEST_DOT) -> Figure:
    """The figure of one event: a row a plane; a column each for charge, truth, prediction and neutrino score.

    The rows share their time axis, the panels of a row their wire axis. `smallest_dot` is in points.
    """
    panels, planes = picture.panels, len(picture.planes)
    size = PANEL[0] * len(panels) + 1.0, PANEL[1] * planes + 0.8
    figure, axes = new_figure(planes, len(panels), size, shared=True)
    dot = _dot_size(picture, smallest_dot)
    for row, plane in enumerate(picture.planes):
        marks = [_PANELS[panel](axis, plane, dot) for panel, axis in zip(panels, axes[row], strict=True)]
        for panel, axis in zip(panels, axes[row], strict=True):
            for name, places in picture.vertices(panel, row).items():
                axis.plot(places[:, 1], places[:, 0], linestyle="", **VERTEX_MARKS[name])
        for panel, axis, mark in zip(panels, axes[row], marks, strict=True):
            if mark is not None:
                label = charge_label(picture) if panel == "charge" else "neutrino score"
                pad = 0.012 if len(panels) > 1 else 0.1
                figure.colorbar(mark, ax=axis, pad=pad, fraction=0.045).set_label(label, fontsize=9)
        axes[row, 0].set_ylabel(f"{plane_name(row)}\ndrift time (ticks)")
    for axis, panel in zip(axes[0], panels, strict=True):
        axis.set_title(panel)
    _finish_axes(axes, picture)
    _legend(figure, picture)
    figure.suptitle(picture.heading, parse_math=False)
    return figure


def _dot_size(picture, smallest):
    # Points squared: a pixel's extent on the page, but not smaller than can be seen.
    span = PANEL[0] * 72 / picture.shape.width * 2**picture.downsample
    return max(span, smallest) ** 2


def _draw_charge(axis, plane: PlanePicture, size):
    below = plane.no_charge
    _dots(axis, plane.rows[below], plane.columns[below], size, color=NO_CHARGE_COLOR)
    stored = plane.charge > 0
    top = max(float(np.percentile(plane.charge[stored], 99.5)) if stored.any() else 0.0, 10 * ADC_THRESHOLD)
    low = max(float(plane.charge[stored].min(initial=ADC_THRESHOLD)), top / 200)
    order = np.argsort(plane.charge[stored])
    rows, columns, values = (part[stored][order] for part in (plane.rows, plane.columns, plane.charge))
    return _dots(axis, rows, columns, size, c=values, norm=LogNorm(low, top), cmap=_charge_colors())


def _draw_truth(axis, plane: PlanePicture, size):
    return _draw_classes(axis, plane, plane.truth, size)


def _draw_prediction(axis, plane: PlanePicture, size):
    return _draw_classes(axis, plane, plane.prediction, size)


def _draw_classes(axis, plane, classes, size):
    for index in range(N_CLASSES):
        chosen = classes == index
        if index not in (COSMIC, NEUTRINO):
            chosen &= plane.stored
        _dots(axis, plane.rows[chosen], plane.columns[chosen], size, color=DRAWN_COLORS[index])
    return None


def _draw_scores(axis, plane: PlanePicture, size):
    assert plane.scores is not None
    # The high ones on top.
    order = np.argsort(plane.scores)
    rows, columns, values = (part[order] for part in (plane.rows, plane.columns, plane.scores))
    return _dots(axis, rows, columns, size, c=values, norm=Normalize(0, 1), cmap=_score_colors())


_PANELS = {"charge": _draw_charge, "truth": _draw_truth, "prediction": _draw_prediction, "neutrino score": _draw_scores}


def _charge_colors():
    # Without the palest part, which would not be seen on white.
    return LinearSegmentedColormap.from_list("charge", colormaps["magma_r"](np.linspace(0.1, 1.0, 256)))


def _score_colors():
    return LinearSegmentedColormap.from_list("score", SCORE_COLORS)


def _dots(axis, rows, columns, size, **colors):
    return axis.scatter(columns, rows, s=size, marker="s", linewidths=0, rasterized=True, **colors)


def _finish_axes(axes, picture):
    shape = picture.shape
    for axis in axes.flat:
        axis.set(xlim=(-0.5, shape.width - 0.5), ylim=(shape.height - 0.5, -0.5))
        axis.tick_params(direction="out", length=3)
    for axis in axes[-1]:
        axis.set_xlabel("wire")
    if picture.has_geometry:
        _add_geometry(axes)


def _add_geometry(axes):
    for axis in axes.flat:
        axis.axhline(ROWS_PER_TPC - 0.5, color="0.55", linewidth=0.6, linestyle=(0, (4, 3)), zorder=0)
    for axis in axes[0]:
        wires = axis.secondary_xaxis("top", functions=(lambda wire: wire * PITCH, lambda cm: cm / PITCH))
        wires.tick_params(labelsize=8, length=2)
        wires.set_xlabel("cm along the wires' pitch", fontsize=8)
    side = "left" if axes.shape[1] > 1 else "right"
    for axis in axes[:, -1]:
        drift = axis.secondary_yaxis(side, functions=(_row_to_x, _x_to_row))
        drift.tick_params(labelsize=8, length=2)
        drift.set_ylabel("apparent x (cm)", fontsize=8)
        if side == "left":
            axis.tick_params(axis="y", length=0)


def _row_to_x(row):
    return (row + 0.5 - ROWS_PER_TPC) * CM_PER_ROW


def _x_to_row(x):
    return x / CM_PER_ROW + ROWS_PER_TPC - 0.5


def _legend(figure, picture):
    colors = {class_label(c): DRAWN_COLORS[c] for c in range(N_CLASSES) if picture.has_truth or picture.has_prediction}
    colors |= {NO_CHARGE: NO_CHARGE_COLOR} if picture.has_no_charge else {}
    handles = [Line2D([], [], marker="s", linestyle="", color=color, label=name) for name, color in colors.items()]
    shown = {n for panel in picture.panels for p in range(len(picture.planes)) for n in picture.vertices(panel, p)}
    handles += [Line2D([], [], linestyle="", label=name, **VERTEX_MARKS[name]) for name in sorted(shown, reverse=True)]
    if not handles:
        return
    if picture.has_geometry:
        handles.append(Line2D([], [], color="0.55", linewidth=0.8, linestyle=(0, (4, 3)), label="cathode"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


@drawing(STYLE)
def save_figure(figure: Figure, path: Path):
    """Writes a figure to a file that is complete or absent; the ending chooses the format."""
    with replaced_file(path) as beside:
        figure.savefig(beside, dpi=DPI, format=path.suffix[1:])
