"""The comparison of simulated events with a file's, as one picture."""

from pathlib import Path

import numpy as np

from cosmictagger_tf.data.event import Event
from cosmictagger_tf.detector import CLASS_NAMES, NEUTRINO
from cosmictagger_tf.files import replaced_file
from cosmictagger_tf.simulation.measures import LEVELS, active_neighbours, measures

COLORS = {"file": "#000000", "simulated": "#d55e00"}


def draw_comparison(path: Path, real: list[Event], simulated: list[Event]):
    """ADC spectra (a row a class) and active neighbours by plane; sites by downsampling, neutrino pixels by event."""
    # Matplotlib takes a while to import, and only this needs it.
    from cosmictagger_tf.figures import drawing, new_figure

    with drawing({}), replaced_file(path) as beside:
        figure = _draw(*new_figure(5, real[0].shape.planes, (4 * real[0].shape.planes, 13)), real, simulated)
        figure.savefig(beside, format="png", dpi=70)


def _draw(figure, axes, real, simulated):
    planes = real[0].shape.planes
    for which, events in (("file", real), ("simulated", simulated)):
        style = {"color": COLORS[which], "label": which, "linewidth": 1.0}
        for plane in range(planes):
            for index, name in enumerate(CLASS_NAMES):
                _spectrum(axes[index, plane], events, plane, index, style)
                axes[index, plane].set_title(f"plane {plane}: {name}", fontsize=9)
            _neighbours(axes[3, plane], events, plane, style)
        _summary(axes[4], events, style)
    axes[0, 0].legend(fontsize=8)
    return figure


def _spectrum(axis, events, plane, index, style):
    values = np.concatenate([e.image[plane].values[e.label[plane].values == index] for e in events])
    counts, edges = np.histogram(values, np.geomspace(5, 1500, 45))
    axis.stairs(counts / len(events), edges, **style)
    axis.set(xscale="log", yscale="log", xlabel="ADC", ylabel="pixels an event")


def _neighbours(axis, events, plane, style):
    total = np.zeros(9)
    for event in events:
        lit = event.label[plane].values > 0
        total += np.bincount(active_neighbours(event.image[plane], event.shape)[lit], minlength=9)
    axis.stairs(total / max(total.sum(), 1), np.arange(10) - 0.5, **style)
    axis.set(xlabel="active neighbours of a particle's pixel", ylabel="share")


def _summary(axes, events, style):
    numbers = [measures(event) for event in events]
    sites = [np.mean([n[f"active sites at downsampling {level}"] for n in numbers]) for level in range(LEVELS)]
    axes[0].plot(range(LEVELS), sites, marker="o", markersize=3, **style)
    axes[0].set(yscale="log", xlabel="downsampling", ylabel="active sites an event")
    pixels = [sum(int((p.values == NEUTRINO).sum()) for p in event.label) for event in events]
    axes[1].plot(np.sort(pixels), (np.arange(len(pixels)) + 0.5) / len(pixels), marker=".", **style)
    axes[1].set(xlabel="neutrino pixels, three planes", ylabel="share of events with fewer")
    for i, event in enumerate(events):
        everything = np.concatenate([p.values for p in event.image])
        counts, edges = np.histogram(everything, np.geomspace(5, 1500, 30))
        line = style if i == 0 else {**style, "label": None}
        axes[2].stairs(counts, edges, **{**line, "alpha": 1.0 if style["label"] == "file" else 0.2})
    axes[2].set(xscale="log", yscale="log", xlabel="ADC, event by event", ylabel="pixels")
