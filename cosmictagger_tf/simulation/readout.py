"""Signal and noise together: pixels over the threshold, and their labels."""

from typing import NamedTuple

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.detector import ADC_THRESHOLD, BACKGROUND, COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.simulation import noise
from cosmictagger_tf.simulation.response import PlaneSignal

# MeV: the sample's truth keeps a particle in a pixel from this energy on.
TRUTH_CUT = 0.04


class PlaneReadout(NamedTuple):
    """The pixels of a plane over the threshold, in the order of the file's ids.

    Attributes:
        image: their ADC.
        label: their classes.
        source: where each comes from (see generate), 0 of background.
    """

    image: PlanePixels
    label: PlanePixels
    source: PlanePixels


def read_out(rng, signal: PlaneSignal, plane: int, shape: ImageShape, classes: np.ndarray) -> PlaneReadout:
    """What the electronics keep of a plane.

    A pixel's label is the class with the most energy in that very pixel, and its source the one of that class with the
    most. Where a pulse spreads beyond the pixels that hold energy, both are background, as in the sample.

    Args:
        rng: numpy Generator.
        signal: of the plane.
        plane: which.
        shape: of the images.
        classes: as in response.signal.
    """
    first, wires = geometry.FIRST_COLUMN[plane], noise.SPAN[plane]
    row, column = np.divmod(signal.pixels, shape.width)
    adc = signal.adc.copy()
    streaky = dict(noise.STREAKY).get(plane)
    pixels, values = [], []
    for tpc in (0, 1):
        own = (row >= geometry.ROWS_PER_TPC) == (tpc == 1)
        at = (row[own] - tpc * geometry.ROWS_PER_TPC) * wires + column[own] - first
        if tpc == streaky:
            field = noise.streaky(rng, plane, tpc).ravel()
            adc[own] += field[at]
            field[at] = 0.0
            numbers = np.flatnonzero(field >= ADC_THRESHOLD)
            over = field[numbers].astype(float)
        else:
            adc[own] += rng.standard_normal(len(at)) * noise.width_at(plane, np.full(len(at), tpc), column[own])
            numbers, over = noise.quiet_over(rng, plane, tpc, ADC_THRESHOLD)
            free = ~np.isin(numbers, at)
            numbers, over = numbers[free], over[free]
        r, c = np.divmod(numbers, wires)
        pixels.append((r + tpc * geometry.ROWS_PER_TPC) * shape.width + c + first)
        values.append(over)
    kept = adc >= ADC_THRESHOLD
    numbers = np.concatenate([signal.pixels[kept], *pixels])
    adc = np.concatenate([adc[kept], *values])
    label, source = np.zeros((2, len(numbers)), np.float32)
    label[: kept.sum()] = labels(signal.energy[:, kept])
    source[: kept.sum()] = sources(signal.by_source[:, kept], label[: kept.sum()], classes)
    rows, columns = np.divmod(numbers, shape.width)
    order = np.argsort(columns * shape.height + rows)
    rows, columns = rows[order].astype(np.int32), columns[order].astype(np.int32)
    image = np.maximum(adc[order].astype(np.float32), np.float32(ADC_THRESHOLD))
    return PlaneReadout(*(PlanePixels(rows, columns, values) for values in (image, label[order], source[order])))


def labels(energy: np.ndarray) -> np.ndarray:
    """int64 [n]: the class with the most of float [2, n] MeV (cosmic, neutrino); background below the cut."""
    winner = np.where(energy[1] > energy[0], NEUTRINO, COSMIC)
    return np.where(energy.max(axis=0) >= TRUTH_CUT, winner, BACKGROUND)


def sources(by_source: np.ndarray, label: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The source of each pixel: of those of its class the one with the most energy.

    Args:
        by_source: float [sources, n], MeV.
        label: [n], of the pixels.
        classes: as in response.signal.

    Returns:
        int64 [n], from 1 on; 0 for background.
    """
    able = classes[1:, None] == label
    return np.where(label == BACKGROUND, 0, 1 + np.where(able, by_source, -1.0).argmax(axis=0))
