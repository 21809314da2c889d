"""From energy deposits to the ADC of each pixel, and noise."""

import numpy as np

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.simulation import geometry
from cosmictagger_tf.data.simulation.tracks import Deposits
from cosmictagger_tf.detector import ADC_THRESHOLD, BACKGROUND, COSMIC, NEUTRINO, ImageShape

# ADC summed over a pulse for one MeV: sets a crossing muon's pixels to the sample's median of about 30 ADC.
ADC_PER_MEV = 230.0
TIME_SIGMA = 0.9  # rows: electronics' shaping and diffusion together
WIRE_SIGMA = 0.3  # wires
# Pixels over threshold that are only noise, per plane and TPC, measured on the sample.
NOISE_PIXELS = ((1500, 13000), (13000, 1500), (1500, 1500))
NOISE_SCALE = 1.2  # ADC above the threshold, exponential


def image(deposits: Deposits, plane: int, shape: ImageShape) -> np.ndarray:
    """float64 [height * width], the ADC that the deposits leave on a plane."""
    x, y, z = deposits.points.T
    row, column = geometry.rows(x), geometry.columns(x, y, z, plane)
    total = np.zeros(shape.pixels)
    for wire in (-1, 0, 1):
        for tick in range(-3, 4):
            r, c = np.floor(row).astype(np.int64) + tick, np.floor(column).astype(np.int64) + wire
            share = np.exp(-0.5 * ((r + 0.5 - row) / TIME_SIGMA) ** 2) / (TIME_SIGMA * np.sqrt(2 * np.pi))
            share = share * np.exp(-0.5 * ((c + 0.5 - column) / WIRE_SIGMA) ** 2) / (WIRE_SIGMA * np.sqrt(2 * np.pi))
            # A pulse stays in the TPC that it drifted in.
            fits = (r >= 0) & (r < shape.height) & (c >= 0) & (c < shape.width)
            fits &= (r < geometry.ROWS_PER_TPC) == (x < 0)
            charge = (deposits.energy * ADC_PER_MEV * share)[fits]
            total += np.bincount((r * shape.width + c)[fits], charge, shape.pixels)
    return total


def noise(rng, plane: int, shape: ImageShape) -> np.ndarray:
    """float64 [height * width], ADC of pixels that noise lifted over the threshold."""
    total = np.zeros(shape.pixels)
    for tpc, mean in enumerate(NOISE_PIXELS[plane]):
        count = rng.poisson(mean)
        rows = rng.integers(0, geometry.ROWS_PER_TPC, count) + tpc * geometry.ROWS_PER_TPC
        first, last = (191, 1857) if plane == geometry.COLLECTION else (31, 2017)
        columns = rng.integers(first, last, count)
        total[rows * shape.width + columns] = ADC_THRESHOLD + rng.exponential(NOISE_SCALE, count)
    return total


def read_out(cosmic: np.ndarray, signal: np.ndarray, noise: np.ndarray, shape: ImageShape) -> tuple:
    """The pixels over threshold of a plane, and their labels: the particle with the most charge in the pixel."""
    adc = cosmic + signal + noise
    index = np.flatnonzero(adc >= ADC_THRESHOLD)
    rows, columns = (axis.astype(np.int32) for axis in np.divmod(index, shape.width))
    particle = np.where(signal[index] > cosmic[index], NEUTRINO, COSMIC)
    label = np.where(np.maximum(signal, cosmic)[index] > noise[index], particle, BACKGROUND)
    image = PlanePixels(rows, columns, adc[index].astype(np.float32))
    return image, PlanePixels(rows, columns, label.astype(np.float32))
