"""Particles as straight tracks of charge: a first, simple LArTPC."""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.data.simulation import geometry

STEP = 0.1  # cm between two deposits
MIP_DEDX = 2.1  # MeV/cm of a minimum-ionising particle in liquid argon (PDG)
LANDAU_WIDTH = 0.25  # relative width of the fluctuation of one step
PROTON_DEDX = 8.0  # MeV/cm, typical of a short stopping proton
# Cosmic muons that cross an SBND readout, drift windows before and after the trigger included.
COSMICS_PER_EVENT = 9
ZENITH_POWER = 2.0  # muon flux ~ cos^2(zenith angle) (PDG)


@dataclass(frozen=True)
class Deposits:
    """Energy deposits of one or more particles.

    Attributes:
        points: float64 [n, 3], x, y, z in cm; x is apparent: shifted by the particle's time.
        energy: float64 [n], MeV.
    """

    points: np.ndarray
    energy: np.ndarray


def join(parts: list[Deposits]) -> Deposits:
    """All deposits of several."""
    if not parts:
        return Deposits(np.zeros((0, 3)), np.zeros(0))
    return Deposits(np.concatenate([p.points for p in parts]), np.concatenate([p.energy for p in parts]))


def track(rng, start, direction, length: float, dedx: float) -> Deposits:
    """A straight track; deposits outside the active volume are left out.

    Args:
        rng: numpy Generator.
        start: x, y, z in cm.
        direction: unit vector.
        length: cm.
        dedx: mean energy loss, MeV/cm.
    """
    steps = np.arange(0.0, length, STEP)
    points = np.asarray(start) + steps[:, None] * np.asarray(direction)
    points = points[geometry.inside(*points.T)]
    # A Moyal-like tail: exp of a normal is skewed towards high losses, as Landau's distribution is.
    loss = dedx * STEP * rng.lognormal(0.0, LANDAU_WIDTH * 2, len(points))
    return Deposits(points, loss)


def cosmic_muon(rng) -> Deposits:
    """A muon through the detector, cos^2 in the zenith angle, at any time of the readout."""
    zenith = np.arccos(rng.random() ** (1.0 / (ZENITH_POWER + 1.0)))
    azimuth = rng.uniform(0.0, 2 * np.pi)
    direction = np.array([np.sin(zenith) * np.cos(azimuth), -np.cos(zenith), np.sin(zenith) * np.sin(azimuth)])
    half = np.array([geometry.HALF_X, geometry.HALF_Y, geometry.LENGTH_Z / 2])
    through = rng.uniform(-half, half) + np.array([0.0, 0.0, half[2]])
    deposits = track(rng, through - 600.0 * direction, direction, 1200.0, MIP_DEDX)
    return out_of_time(rng, deposits)


def out_of_time(rng, deposits: Deposits) -> Deposits:
    """Shifts a cosmic along the drift by its time, towards or away from the anodes, and cuts it at the window."""
    shift = rng.uniform(-geometry.HALF_X, geometry.HALF_X)
    x = deposits.points[:, 0]
    side = np.where(x < 0, -1.0, 1.0)
    drift = np.abs(x) + shift
    keep = (drift > 0) & (drift < geometry.HALF_X)
    points = deposits.points[keep].copy()
    points[:, 0] = (side * drift)[keep]
    return Deposits(points, deposits.energy[keep])


def neutrino(rng) -> tuple[Deposits, np.ndarray]:
    """A neutrino interaction: a forward muon and a few protons and pions from one vertex; also the vertex, in cm."""
    half = np.array([geometry.HALF_X, geometry.HALF_Y, geometry.LENGTH_Z / 2]) * 0.95
    vertex = rng.uniform(-half, half) + np.array([0.0, 0.0, geometry.LENGTH_Z / 2])
    parts = [track(rng, vertex, forward(rng, 0.5), rng.exponential(120.0) + 10.0, MIP_DEDX)]
    for _ in range(rng.integers(1, 4)):
        parts.append(track(rng, vertex, forward(rng, 1.0), rng.exponential(8.0) + 2.0, PROTON_DEDX))
    for _ in range(rng.integers(0, 3)):
        parts.append(track(rng, vertex, forward(rng, 1.0), rng.exponential(30.0) + 5.0, MIP_DEDX * 1.2))
    return join(parts), vertex


def forward(rng, spread: float) -> np.ndarray:
    """A unit vector about the beam, z; `spread` is the width of its transverse part."""
    direction = np.array([rng.normal(0, spread), rng.normal(0, spread), 1.0])
    return direction / np.linalg.norm(direction)
