"""What an event's pixels look like, in numbers: the quantities that simulated and real events are compared in."""

from itertools import pairwise

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.detector import BACKGROUND, CLASS_NAMES, NEUTRINO, ImageShape
from cosmictagger_tf.simulation import noise

QUANTILES = (5, 25, 50, 75, 95, 99)
LEVELS = 7
# A background pixel this near a particle's pixel (wires, rows) is the fringe of a pulse; farther away it is noise.
FRINGE_WIRES, FRINGE_ROWS = 1, 5
# Where a pulse begins or ends along time: a pixel beside an empty one, and on its other side more than so many ADC.
# What the truth calls it depends on its share of that next pixel's ADC, counted in these steps.
EDGE_NEXT, EDGE_SHARES = 25.0, (0.0, 0.2, 0.4, 0.6, 1.0)


def measures(event: Event) -> dict[str, float]:
    """Named numbers of one event with labels; a number that does not exist (no such pixel) is left out."""
    assert event.label is not None
    values: dict[str, float] = {}
    neutrino = 0
    for plane, (image, label) in enumerate(zip(event.image, event.label, strict=True)):
        values |= {f"plane {plane}: {name}": value for name, value in plane_measures(image, label, plane, event.shape)}
        neutrino += int((label.values == NEUTRINO).sum())
    values["neutrino pixels, three planes"] = neutrino
    for level in range(LEVELS):
        # Downsampling looks at the image alone.
        small = downsample_event(Event(0, (0, 0, 0), event.image, None, event.shape), level)
        values[f"active sites at downsampling {level}"] = sum(len(p) for p in small.image)
    return values


def plane_measures(image: PlanePixels, label: PlanePixels, plane: int, shape: ImageShape):
    """(name, value) of each number of one plane whose image and label store the same pixels in the same order."""
    neighbours = active_neighbours(image, shape)
    along_time = run_lengths(image.columns.astype(np.int64) * shape.height + image.rows, image.rows)
    along_wire = run_lengths(image.rows.astype(np.int64) * shape.width + image.columns, image.columns)
    particle = np.zeros((shape.height, shape.width), np.uint8)
    lit = label.values > BACKGROUND
    particle[image.rows[lit], image.columns[lit]] = 1
    for index, name in enumerate(CLASS_NAMES):
        mine = label.values == index
        yield f"{name} pixels", float(mine.sum())
        if not mine.any():
            continue
        for quantile, value in zip(QUANTILES, np.percentile(image.values[mine], QUANTILES), strict=True):
            yield f"{name} ADC {quantile} %", float(value)
        yield f"{name} ADC, mean", float(image.values[mine].mean())
        yield f"{name} active neighbours of 8", float(neighbours[mine].mean())
        yield f"{name} run along time", float(along_time[mine].mean())
        yield f"{name} run along wires", float(along_wire[mine].mean())
        yield f"{name} lone pixels, share", float((neighbours[mine] == 0).mean())
    yield from edge_measures(image, lit, shape)
    near = close_to(particle, image.rows, image.columns) & ~lit
    yield "fringe pixels per particle pixel", float(near.sum()) / max(int(lit.sum()), 1)
    if near.any():
        yield "fringe ADC, median", float(np.median(image.values[near]))
    stray = ~near & ~lit
    yield "background over 12 ADC away from particles", float((stray & (image.values > 12)).sum())
    for tpc, rows in enumerate(("rows 0-639", "rows 640-1279")):
        chosen = stray & ((image.rows >= geometry.ROWS_PER_TPC) == (tpc == 1))
        yield f"noise per 1000 pixels, {rows}", 1000.0 * chosen.sum() / geometry.ROWS_PER_TPC / noise.SPAN[plane]


def edge_measures(image: PlanePixels, lit: np.ndarray, shape: ImageShape):
    """(name, value): how many pixels at the edges of pulses are a particle's, by their share of the next one's ADC.

    Args:
        image: of a plane.
        lit: bool [n], whether a pixel is a particle's.
        shape: of the image.
    """
    adc = np.zeros((shape.height + 2, shape.width), np.float32)
    adc[image.rows + 1, image.columns] = image.values
    shares, particles = [], []
    for side in (-1, 1):
        beyond, following = (adc[image.rows + 1 + step, image.columns] for step in (side, -side))
        edge = (beyond == 0) & (following > EDGE_NEXT)
        shares.append(image.values[edge] / following[edge])
        particles.append(lit[edge])
    share, particle = np.concatenate(shares), np.concatenate(particles)
    for low, high in pairwise(EDGE_SHARES):
        chosen = (share >= low) & (share < high)
        if chosen.any():
            yield f"pulse edges of {low:g} to {high:g}, labelled", float(particle[chosen].mean())


def active_neighbours(pixels: PlanePixels, shape: ImageShape) -> np.ndarray:
    """int64 [n]: how many of the 8 pixels around each are stored."""
    active = np.zeros((shape.height + 2, shape.width + 2), np.uint8)
    active[pixels.rows + 1, pixels.columns + 1] = 1
    total = np.zeros(len(pixels), np.int64)
    for dr in (0, 1, 2):
        for dc in (0, 1, 2):
            if (dr, dc) != (1, 1):
                total += active[pixels.rows + dr, pixels.columns + dc]
    return total


def run_lengths(numbers: np.ndarray, position: np.ndarray) -> np.ndarray:
    """int64 [n]: the length of the unbroken run of active pixels that each pixel is part of.

    Args:
        numbers: distinct flat indices in which the runs' pixels follow each other.
        position: each pixel's place along the axis of the run; at 0 a new line begins.
    """
    order = np.argsort(numbers)
    begins = np.ones(len(numbers), bool)
    begins[1:] = (np.diff(numbers[order]) != 1) | (position[order][1:] == 0)
    run = np.cumsum(begins) - 1
    lengths = np.empty(len(numbers), np.int64)
    lengths[order] = np.bincount(run)[run] if len(run) else run
    return lengths


def close_to(
    marked: np.ndarray, rows: np.ndarray, columns: np.ndarray, reach: tuple[int, int] = (FRINGE_ROWS, FRINGE_WIRES)
) -> np.ndarray:
    """bool [n]: whether a marked pixel is within so many rows and wires, `reach`, of each pixel."""
    padded = np.pad(marked, [(each, each) for each in reach])
    near = np.zeros(len(rows), np.uint8)
    for dr in range(2 * reach[0] + 1):
        for dc in range(2 * reach[1] + 1):
            near |= padded[rows + dr, columns + dc]
    return near.astype(bool)
