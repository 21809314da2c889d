"""Simulated events against those of a file: a table and a picture."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cosmictagger_tf.config import DataConfig, SimulateConfig
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.dataset import expand, open_reader
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.files import make_place
from cosmictagger_tf.simulation.generate import events
from cosmictagger_tf.simulation.measures import measures
from cosmictagger_tf.text import counted

log = logging.getLogger(__name__)


def compare_with_file(config: SimulateConfig):
    """Simulates `events` events, prints how they compare with the file `compare` and draws `comparison_picture`.

    Raises:
        DataError: the file cannot be read, or has no labels.
    """
    picture = Path(config.comparison_picture)
    make_place(picture, "comparison_picture")
    real = read_events(config.compare, config.events)
    simulated = [one.event for one in events(config)]
    made = f"{len(simulated)}, --simulation_seed={config.simulation_seed}"
    log.info(f"{config.compare}: {counted(len(real), 'event')}; simulated: {made}")
    for line in table([measures(e) for e in real], [measures(e) for e in simulated]):
        log.info(line)
    from cosmictagger_tf.simulation.compare_picture import draw_comparison

    draw_comparison(picture, real, simulated)
    log.info(f"drawn: {config.comparison_picture}")


def read_events(path: str, most: int) -> list[Event]:
    """The first events of a file, at most `most`, labels at the image's pixels, as the simulation's are.

    Raises:
        DataError: it has no labels, or images of another size.
    """
    reader = open_reader(DataConfig(file=expand((path,), "compare"), max_entries=most, downsample=0))
    if reader.shape != ImageShape():
        raise DataError(path, f"has {reader.shape}; what is simulated has {ImageShape()}")
    events = [reader.read(entry) for entry in range(len(reader))]
    if any(event.label is None for event in events):
        raise DataError(path, "has no labels to compare with")
    return [replace(event, label=labels_at_the_image(event)) for event in events]


def labels_at_the_image(event: Event) -> tuple[PlanePixels, ...]:
    """The label of each pixel of an event's image: background where the file has none, and none where no pixel is."""
    (labels,) = make_batch([event], 1, event.shape)["labels"]
    pairs = zip(event.image, labels, strict=True)
    return tuple(replace(image, values=values[: len(image)].astype(np.float32)) for image, values in pairs)


def table(real: Sequence[dict[str, float]], simulated: Sequence[dict[str, float]]) -> list[str]:
    """Lines: each quantity's mean and spread (standard deviation over events) in the file and simulated, and the ratio.

    The last column counts how many of the simulation's spreads the file's mean lies away from the simulated mean.
    """
    lines = [f"{'quantity':<58}{'file':>18}{'simulated':>20}{'ratio':>8}{'pull':>7}"]
    names = dict.fromkeys(name for event in (*real, *simulated) for name in event)
    for name in names:
        a, b = ([event[name] for event in events if name in event] for events in (real, simulated))
        if not a or not b:
            continue
        spread = float(np.std(b))
        ratio = f"{np.mean(b) / np.mean(a):8.2f}" if np.mean(a) else f"{'-':>8}"
        pull = f"{(np.mean(b) - np.mean(a)) / spread:7.1f}" if spread else f"{'-':>7}"
        lines.append(f"{name:<58}{_with_spread(a):>18}{_with_spread(b):>20}{ratio}{pull}")
    return lines


def _with_spread(values) -> str:
    mean, spread = float(np.mean(values)), float(np.std(values))
    digits = 0 if abs(mean) >= 100 else 1 if abs(mean) >= 10 else 2 if abs(mean) >= 0.1 else 3
    return f"{mean:.{digits}f} +- {spread:.{digits}f}"
