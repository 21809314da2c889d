"""The plots of an evaluation's report, as SVG text."""

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cosmictagger_tf.detector import CLASS_NAMES, NEUTRINO
from cosmictagger_tf.figures import drawing, new_figure
from cosmictagger_tf.inference.evaluate.breakdown import SHOWN, Bin
from cosmictagger_tf.inference.evaluate.curves import ScoreHistogram
from cosmictagger_tf.inference.evaluate.event_cut import EventCut
from cosmictagger_tf.inference.evaluate.reliability import BINS, Reliability
from cosmictagger_tf.inference.evaluate.selection import CURVE_SHARES, Selection
from cosmictagger_tf.inference.event_picture import DRAWN_COLORS
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.evaluation import EventTable
from cosmictagger_tf.training.metrics import metrics_from_counts

# Okabe and Ito's colours for the planes and all together, and for the metrics of a breakdown.
PLANE_COLORS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")
METRIC_COLORS = {"neutrino_iou": "#d55e00", "neutrino_recall": "#0072b2", "neutrino_precision": "#009e73"}
STYLE: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "path"}


def svg(draw, width: float, height: float, columns: int = 1, **arguments) -> str:
    """An inline <svg> of what draw(axes, **arguments) draws; sizes in inches."""
    with drawing(STYLE):
        figure, axes = new_figure(1, columns, (width, height))
        draw(axes[0], **arguments)
        return figure_svg(figure)


@drawing(STYLE)
def figure_svg(figure: Figure) -> str:
    """The <svg> element of a figure."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, dpi=110)
    page = text.getvalue()
    return page[page.index("<svg") :]


def confusion(axes, table: EventTable):
    """A matrix a plane: the share of each true class's pixels that was called each class, and how many."""
    for plane, axis in enumerate(axes):
        counts = table.counts.sum(axis=0)[plane]
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (true, called), value in np.ndenumerate(share):
            text = f"{value:.2%}\n{counts[true, called]:,}"
            axis.text(
                called, true, text, ha="center", va="center", color="white" if value > 0.6 else "black", fontsize=9
            )
        axis.set_xticks(range(len(CLASS_NAMES)), CLASS_NAMES)
        axis.set_yticks(range(len(CLASS_NAMES)), CLASS_NAMES if plane == 0 else [])
        axis.set(title=f"plane {plane}", xlabel="predicted", ylabel="true" if plane == 0 else "")


def curves(axes, histogram: ScoreHistogram):
    """The ROC curve and the precision-recall curve of the neutrino score, a line a plane and one for all."""
    for plane in (*range(histogram.planes), None):
        curve = histogram.curve(plane)
        name = "all planes" if plane is None else f"plane {plane}"
        color = "#000000" if plane is None else PLANE_COLORS[plane % len(PLANE_COLORS)]
        style = {"color": color, "linewidth": 2.0 if plane is None else 1.3}
        if curve.lacks:
            for axis in axes:
                axis.plot([], [], label=f"{name}, {curve.lacks}", **style)
            continue
        axes[0].plot(
            curve.false_positive_rate, curve.true_positive_rate, label=f"{name}, area {curve.auc:.4f}", **style
        )
        axes[1].plot(
            curve.true_positive_rate[1:],
            curve.precision[1:],
            label=f"{name}, average {curve.average_precision:.4f}",
            **style,
        )
    axes[0].set(xscale="symlog", title="ROC", xlabel="other pixels called neutrino", ylabel="neutrino pixels found")
    axes[0].set_xscale("symlog", linthresh=1e-4)
    axes[0].set(xlim=(0, 1), ylim=(0, 1.01))
    axes[1].set(title="precision and recall", xlabel="recall (efficiency)", ylabel="precision (purity)")
    axes[1].set(xlim=(0, 1), ylim=(0, 1.01))
    for axis in axes:
        axis.legend(frameon=False, fontsize=9, loc="lower right" if axis is axes[0] else "best")
        axis.grid(alpha=0.25)


def scores(axes, histogram: ScoreHistogram):
    """How the neutrino score of the stored pixels is spread, by true class."""
    counts = histogram.counts.sum(axis=0)
    edges, bins = histogram.curve().thresholds[::-1], np.linspace(0, 1, 51)
    middle = (edges[:-1] + edges[1:]) / 2
    for index, name in enumerate(CLASS_NAMES):
        heights, _ = np.histogram(middle, bins, weights=counts[:, index])
        axes[0].stairs(heights, bins, color=DRAWN_COLORS[index], label=name, linewidth=1.8)
    axes[0].set(yscale="log", xlabel="neutrino score", ylabel="stored pixels", title="scores by true class")
    axes[0].legend(frameon=False)


def reliability(axes, sets: dict[str, Reliability]):
    """The share that is true of what was given each probability, with 95 % intervals, and how many; a set a column."""
    for axis, (name, result) in zip(axes, sets.items(), strict=True):
        axis.plot((0, 1), (0, 1), color="0.5", linewidth=0.8, linestyle="--")
        axis.set(xlabel="predicted probability", ylabel="share that is true", xlim=(0, 1), ylim=(-0.02, 1.02))
        axis.grid(alpha=0.25)
        title = f"{name}: {result.lacks}" if result.lacks else name
        if result.bins:
            title += f"\ncalibration error {result.error:.3f}"
            title += " ({:.3f} to {:.3f})".format(*result.interval) if result.interval else ""
            _reliability_bins(axis, result.bins)
        axis.set_title(title, fontsize=10)


def _reliability_bins(axis, bins):
    # The points on the axis, and how many each stands for on one of its own.
    true = np.array([b.true for b in bins])
    intervals = true - [b.low for b in bins], [b.high for b in bins] - true
    style = {"color": "#0072b2", "marker": "o", "markersize": 4, "capsize": 2}
    axis.errorbar([b.predicted for b in bins], true, intervals, **style)
    numbers = axis.twinx()
    numbers.bar([b.first for b in bins], [b.number for b in bins], 1 / BINS, align="edge", color="0.5", alpha=0.2)
    numbers.set(yscale="log", ylabel="number", ylim=(0.5, None))


def event_spread(axes, table: EventTable):
    """How the neutrino IoU and the efficiency are spread over the events (mean over planes)."""
    metrics = metrics_from_counts(table.counts)
    for axis, name in zip(axes, ("neutrino_iou", "neutrino_recall"), strict=True):
        values = metrics[name].mean(axis=1)
        axis.hist(values, np.linspace(0, 1, 21), color=METRIC_COLORS[name], alpha=0.85)
        axis.axvline(values.mean(), color="black", linewidth=1, linestyle="--", label=f"mean {values.mean():.3f}")
        axis.set(xlabel=SHOWN[name], ylabel="events", xlim=(0, 1))
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False)


def breakdown(axes, bins: list[Bin], title: str, categories: bool):
    """The metrics in bins, with standard errors; the number of events stands above each bin."""
    places = np.arange(len(bins)) if categories else np.array([b.middle for b in bins])
    for offset, (name, label) in zip((-0.15, 0.0, 0.15), SHOWN.items(), strict=True):
        values, errors = (np.array([b.metrics[name][part] for b in bins]) for part in (0, 1))
        shift = offset if categories else 0.0
        axes[0].errorbar(
            places + shift,
            values,
            np.nan_to_num(errors),
            color=METRIC_COLORS[name],
            marker="o",
            markersize=4,
            capsize=2,
            linewidth=1.2,
            linestyle="" if categories else "-",
            label=label,
        )
    rates = [b.pass_rate for b in bins]
    axes[0].plot(places, rates, color="0.35", marker="x", linestyle="" if categories else ":", label="event cut passed")
    for place, b in zip(places, bins, strict=True):
        axes[0].annotate(f"{b.events}", (place, 1.03), ha="center", fontsize=8, color="0.4", annotation_clip=False)
    if categories:
        axes[0].set_xticks(places, [b.name for b in bins])
        axes[0].set_xlim(-0.6, len(bins) - 0.4)
    axes[0].set(xlabel=title, ylim=(-0.02, 1.08))
    axes[0].legend(frameon=False, fontsize=9)
    axes[0].grid(alpha=0.25)


def cut_plane(axes, neutrino_pixels: np.ndarray, cut: EventCut, pixels: int, rows: float):
    """The event cut: the fewest predicted neutrino pixels of a plane against the drift times' difference."""
    fewest = neutrino_pixels.min(axis=1)
    seen = np.isfinite(cut.difference)
    for passed, color, name in ((True, DRAWN_COLORS[NEUTRINO], "passes"), (False, "0.5", "fails")):
        chosen = seen & (cut.passed == passed)
        axes[0].scatter(fewest[chosen], cut.difference[chosen], s=14, color=color, label=f"{name}: {chosen.sum()}")
    axes[0].set_xscale("symlog", linthresh=10)
    axes[0].set_yscale("symlog", linthresh=10)
    axes[0].axvline(pixels + 0.5, color="black", linewidth=0.8, linestyle="--")
    axes[0].axhline(rows, color="black", linewidth=0.8, linestyle="--")
    axes[0].set(
        xlabel="predicted neutrino pixels, plane with the fewest", ylabel="largest drift-time difference (ticks)"
    )
    axes[0].set_title(f"not shown, for an empty plane: {counted((~seen).sum(), 'event')}", fontsize=9)
    axes[0].legend(frameon=False, fontsize=9)


def selection(axes, curves: dict[str, list[tuple[float, Selection]]]):
    """The efficiency of each kind against the share of cosmic-only readouts kept, for thresholds on each quantity."""
    for axis, (quantity, curve) in zip(axes, curves.items(), strict=True):
        selections = [one for _, one in curve]
        kept = [max(one.kept.rate, CURVE_SHARES[0]) for one in selections if one.kept is not None]
        for name, rate in selections[0].efficiencies["kind"].items():
            if rate is not None:
                values = [one.efficiencies["kind"][name] for one in selections]
                axis.plot(
                    kept, [value.rate for value in values if value is not None], label=name, drawstyle="steps-post"
                )
        axis.set_xscale("log")
        axis.set(xlabel="cosmic rays only: kept", ylabel="with a neutrino: kept", ylim=(0, 1.02), title=quantity)
        axis.legend(frameon=False, fontsize=9)
