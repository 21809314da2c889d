"""From energy deposits to charge on the wires, to ADC in each pixel, and to labels."""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.detector import N_CLASSES, ImageShape
from cosmictagger_tf.simulation import argon
from cosmictagger_tf.simulation.deposits import Deposits

# Birks's law as ICARUS measured it (NIM A 523 (2004) 275): R = A / (1 + k dE/dx / (density * field)).
BIRKS_A, BIRKS_K, FIELD = 0.800, 0.0486, 0.5  # k in (g/MeV cm^2) kV/cm, field in kV/cm
LIFETIME = 10_000.0  # us: the sample's pulses hardly lose charge along the drift
# cm^2/us, along and across the drift (LArSoft's defaults 6.2 and 16.3 cm^2/s).
DIFFUSION_LONG, DIFFUSION_TRANSVERSE = 6.2e-6, 16.3e-6
# Each deposit drifts as so many clouds of electrons, spread along its step and by diffusion: a step of 1.5 mm of a
# minimum-ionising track leaves some 9,000, which LArSoft's LArG4 drifts in clusters of 600. With few clouds the energy
# in a pixel is coarse, and what the truth labels at the edges of tracks is more a matter of chance than in the sample.
CLOUDS = 16
# The pulse that one MeV of a minimum-ionising track leaves along time, in ADC at every half row from its centre:
# deconvolved, with its undershoot. The sample's truth holds the energy in each pixel; a fit of its ADC by the energies
# row by row gives 82 and 86, 25, -15, 3 ADC (planes 0 and 1) and 103, 19, -14, 5 ADC (plane 2), in the energy's own row
# and 1, 2, 3 rows away; the same fit to events simulated with these pulses gives 81, 27, -18, 2 and 102, 19, -16, 4.
MIP_RECOMBINATION = BIRKS_A / (1 + BIRKS_K * 2.1 / (argon.DENSITY * FIELD))
PULSE = {
    "induction": np.array([78.0, 62.0, 29.0, -1.5, -13.5, -8.5, 1.0, 2.5, 0.0, 0.0]),
    "collection": np.array([97.0, 74.5, 21.0, -8.5, -12.5, -5.0, 4.0, 3.5, -2.0, -1.0]),
}
PULSE_ROWS = 4
HALF_ROWS = 0.5 * np.arange(10)


@dataclass(frozen=True)
class Clouds:
    """Electrons that reach the wires in the readout.

    Attributes:
        row: float64 [n], where they are on the time axis.
        y, z: float64 [n], cm, where they reach the wires.
        right: bool [n], in the TPC of x > 0.
        charge: float64 [n], MeV after recombination and attenuation.
        energy: float64 [n], MeV before.
        source: int64 [n], what the particle belongs to (see generate), 0 where the truth does not know it.
    """

    row: np.ndarray
    y: np.ndarray
    z: np.ndarray
    right: np.ndarray
    charge: np.ndarray
    energy: np.ndarray
    source: np.ndarray


def recombined(energy: np.ndarray, length: np.ndarray) -> np.ndarray:
    """MeV that escape recombination, of energy (MeV) left over lengths (cm)."""
    density = energy / np.maximum(length, 0.03)
    return energy * BIRKS_A / (1 + BIRKS_K * density / (argon.DENSITY * FIELD))


def drift(rng, deposits: Deposits, times: np.ndarray, sources: np.ndarray) -> Clouds:
    """Drifts deposits to the wires.

    Args:
        rng: numpy Generator.
        deposits: of all groups.
        times: rows that each group is late (negative: early).
        sources: each group's, from 1 on.
    """
    late = times[deposits.group]
    rows = geometry.drift_rows(deposits.points[:, 0]) + late
    deposits = deposits.take((rows > -4) & (rows < geometry.ROWS_PER_TPC + 4))
    n, late = len(deposits), times[deposits.group]
    charge = recombined(deposits.energy, np.linalg.norm(deposits.steps, axis=1)) / CLOUDS
    micros = (geometry.HALF_X - np.abs(deposits.points[:, 0])) / geometry.DRIFT_VELOCITY
    charge = charge * np.exp(-micros / LIFETIME)
    along, across = (np.sqrt(2 * d * micros) for d in (DIFFUSION_LONG, DIFFUSION_TRANSVERSE))
    spread = rng.standard_normal((CLOUDS, n, 3), np.float32) * np.stack([along, across, across], 1).astype(np.float32)
    offsets = (np.arange(CLOUDS)[:, None] + rng.random((CLOUDS, n))) / CLOUDS - 0.5
    where = deposits.points + offsets[..., None] * deposits.steps + spread
    right = np.broadcast_to(deposits.points[:, 0] > 0, (CLOUDS, n))
    x = np.where(right, np.maximum(where[..., 0], 0), np.minimum(where[..., 0], 0))
    rows = geometry.drift_rows(x) + late
    seen = ((rows >= 0) & (rows < geometry.ROWS_PER_TPC)).ravel()
    source = np.where(deposits.recorded, sources[deposits.group], 0)

    def each(values):
        return np.broadcast_to(values, (CLOUDS, n)).ravel()[seen]

    right = right.ravel()[seen]
    row = geometry.rows(np.minimum(rows.ravel()[seen], geometry.ROWS_PER_TPC - 1e-6), right)
    row = np.minimum(row, 2 * geometry.ROWS_PER_TPC - 1e-6)
    y, z = where[..., 1].ravel()[seen], where[..., 2].ravel()[seen]
    return Clouds(row, y, z, right, each(charge), each(deposits.energy / CLOUDS), each(source))


@dataclass(frozen=True)
class PlaneSignal:
    """What particles leave on one plane, before noise.

    Attributes:
        pixels: int64 [n], flat indices (row * width + column) that a pulse reaches.
        adc: float64 [n].
        energy: float64 [2, n], MeV of cosmic and of neutrino particles in the pixel itself.
        by_source: float64 [sources, n], the same of each source, from 1 on.
    """

    pixels: np.ndarray
    adc: np.ndarray
    energy: np.ndarray
    by_source: np.ndarray


def signal(clouds: Clouds, plane: int, shape: ImageShape, classes: np.ndarray) -> PlaneSignal:
    """Charge collected pixel by pixel, each pixel's charge a pulse along time on its own wire and in its own TPC.

    Args:
        clouds: of all particles.
        plane: which.
        shape: of the images.
        classes: int64 [sources + 1], the label of each source; background of the unknown one, 0.
    """
    column = geometry.columns(clouds.y, clouds.z, plane)
    # Charge a little beyond the last wire goes to it.
    column = np.clip(column, geometry.FIRST_COLUMN[plane], geometry.LAST_COLUMN[plane])
    number = geometry.pixel_numbers(clouds.row, column)
    marked = np.zeros(shape.pixels, bool)
    marked[number] = True
    hit = np.flatnonzero(marked)
    # Only the places that were written are ever read.
    place = np.empty(shape.pixels, np.int32)
    place[hit] = np.arange(len(hit), dtype=np.int32)
    at = place[number]
    charge = np.bincount(at, clouds.charge, len(hit))
    # Where in its row the charge of a pixel lies, on average: -0.5 to 0.5.
    within = np.bincount(at, clouds.charge * (clouds.row - np.floor(clouds.row)), len(hit)) / charge - 0.5
    by_class, by_source = (
        np.bincount(at + len(hit) * of_cloud, clouds.energy, most * len(hit)).reshape(most, -1)[1:]
        for of_cloud, most in ((classes[clouds.source], N_CLASSES), (clouds.source, len(classes)))
    )
    pulse = PULSE["collection" if plane == geometry.COLLECTION else "induction"] / MIP_RECOMBINATION
    row = hit // shape.width
    reached, adc = [], []
    for away in range(-PULSE_ROWS, PULSE_ROWS + 1):
        target = row + away
        same = (target >= 0) & (target < shape.height)
        same &= (target < geometry.ROWS_PER_TPC) == (row < geometry.ROWS_PER_TPC)
        reached.append(hit[same] + away * shape.width)
        adc.append(charge[same] * np.interp(np.abs(away - within[same]), HALF_ROWS, pulse))
    everywhere = np.concatenate(reached)
    marked[everywhere] = True
    pixels = np.flatnonzero(marked)
    place[pixels] = np.arange(len(pixels))
    energy, from_sources = np.zeros((len(by_class), len(pixels))), np.zeros((len(by_source), len(pixels)))
    energy[:, place[hit]], from_sources[:, place[hit]] = by_class, by_source
    # bincount of nothing gives integers.
    total = np.bincount(place[everywhere], np.concatenate(adc), len(pixels)).astype(np.float64)
    return PlaneSignal(pixels, total, energy, from_sources)
