"""Muons, pions and protons: from a starting point to where they stop, interact or leave."""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.simulation import argon
from cosmictagger_tf.simulation.deposits import ELECTRON, Deposits, Quanta, turned

MUON_MASS, PION_MASS, PROTON_MASS = 105.658, 139.570, 938.272
STEP = 0.15  # cm; half a wire pitch
# Electrons knocked out with more than this are followed as particles, the others are part of the track's fluctuation.
DELTA_CUT = 0.3
# The sample's truth does not know the latter from this energy on: along long tracks the true energy on a wire scatters
# less than the charge there (-7 % to +10 % about the local median, the charge -8 % to +15 %; 16th and 84th percentile),
# and their ratio has a tail to the right (-12 % to +21 %; 5th and 95th).
UNKNOWN_FROM = 0.06
UNKNOWN_REACH = 0.02  # cm; about the range of an electron of 0.12 MeV, the mean of those (NIST ESTAR, argon)


@dataclass(frozen=True)
class Track:
    """One charged particle's way.

    Attributes:
        deposits: energy left in the active volume.
        deltas: electrons knocked out.
        end: [3], cm, its last point.
        direction: [3], unit vector there.
        kinetic: MeV left there.
        stopped: it came to rest in the active volume.
    """

    deposits: Deposits
    deltas: Quanta
    end: np.ndarray
    direction: np.ndarray
    kinetic: float
    stopped: bool


@dataclass(frozen=True)
class Steps:
    """The steps of a track, as its collisions with electrons depend on them.

    Attributes:
        mass: MeV, of the particle.
        size: [steps], cm.
        kinetic: [steps], MeV, in their middle.
        beta: [steps].
        top: [steps], MeV, the most that one electron can get.
    """

    mass: float
    size: np.ndarray
    kinetic: np.ndarray
    beta: np.ndarray
    top: np.ndarray

    @classmethod
    def of(cls, mass: float, size: np.ndarray, kinetic: np.ndarray) -> "Steps":
        """With what follows from mass and energy."""
        return cls(mass, size, kinetic, argon.beta_gamma(kinetic, mass)[0], argon.highest_transfer(kinetic, mass))


def track(rng, mass: float, start, direction, kinetic: float, group: int, length: float = np.inf) -> Track:
    """Follows a particle that starts in the active volume.

    Its mean loss is Bethe's, by the table of residual ranges, so that it ends in a Bragg peak. Losses below
    UNKNOWN_FROM fluctuate with a Gamma distribution that has the mean and the variance of the xi/T^2 spectrum up to
    there; above it each electron is drawn from that spectrum: together they make Landau's long tail. Those below
    DELTA_CUT stay where they were knocked out.

    Args:
        rng: numpy Generator.
        mass: MeV.
        start: [3], cm.
        direction: [3], unit vector.
        kinetic: MeV.
        group: which primary it belongs to.
        length: cm after which it interacts.
    """
    table = argon.range_table(mass)
    reach = float(table.reach(kinetic))
    far = min(reach, length, 1200.0)
    edges = np.append(np.arange(0.0, far, STEP), far)
    energy = table.energy(reach - edges)
    size = np.diff(edges)
    points, directions = _path(rng, mass, np.asarray(start, float), np.asarray(direction, float), size, energy[:-1])
    alive = np.logical_and.accumulate(geometry.inside(points))
    n = int(alive.sum())
    loss = -np.diff(energy)[:n]
    steps = Steps.of(mass, size[:n], 0.5 * (energy[1:] + energy[:-1])[:n])
    deltas, given = _delta_rays(rng, steps, points[:n], directions[:n], group)
    at, lost, left_out = _knocked_out(rng, steps, UNKNOWN_FROM, DELTA_CUT)
    loss = _fluctuated(rng, steps, np.maximum(loss - given - left_out, 0.2 * loss))
    moved = directions[:n] * steps.size[:, None]
    deposits = Deposits(points[:n], moved, loss, np.full(n, group), np.ones(n, bool))
    places = points[at] + (rng.random(len(at)) - 0.5)[:, None] * moved[at]
    ways = UNKNOWN_REACH * directions[at]
    unknown = Deposits(places, ways, lost, np.full(len(at), group), np.zeros(len(at), bool))
    deposits = Deposits.join([deposits, unknown.take(geometry.inside(places))])
    if n == 0:
        return Track(deposits, deltas, np.asarray(start, float), np.asarray(direction, float), kinetic, False)
    inside = n == len(points)
    return Track(deposits, deltas, points[n - 1], directions[n - 1], energy[n], inside and far == reach)


def _path(rng, mass, start, direction, size, energy):
    # Scattering angles add up along the track in the two directions across it (Highland).
    width = np.minimum(argon.scattering_angle(np.maximum(energy, 0.5), mass, size), 0.5)
    one, other = (turned(direction[None], np.zeros(1), np.array([a]))[0] for a in (0.0, np.pi / 2))
    kicks = rng.normal(size=(2, len(size))) * width
    angles = np.cumsum(kicks, axis=1) - kicks
    directions = direction + angles[0][:, None] * one + angles[1][:, None] * other
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    steps = directions * size[:, None]
    return start + np.cumsum(steps, axis=0) - 0.5 * steps, directions


def _knocked_out(rng, steps: Steps, least, most):
    # Electrons of the xi/T^2 spectrum between two energies, step by step: the steps they come from, their energies, and
    # the mean energy that they carry out of each step.
    most = np.minimum(most, steps.top)
    able = most > least
    strength = argon.XI / steps.beta**2 * steps.size
    mean = np.where(able, strength * (1 / least - 1 / np.maximum(most, least)), 0.0)
    carried = strength * (np.log(np.maximum(most, least) / least) - steps.beta**2 * (most - least) / steps.top)
    at = np.repeat(np.arange(len(steps.size)), rng.poisson(mean))
    u = rng.random(len(at))
    transfer = 1.0 / (1 / least - u * (1 / least - 1 / most[at]))
    kept = rng.random(len(at)) > steps.beta[at] ** 2 * transfer / steps.top[at]
    return at[kept], transfer[kept], np.where(able, carried, 0.0)


def _delta_rays(rng, steps: Steps, points, directions, group):
    # Also gives the mean energy that delta rays carry out of each step.
    at, transfer, carried = _knocked_out(rng, steps, DELTA_CUT, np.inf)
    kinetic = steps.kinetic[at]
    total = kinetic + steps.mass + argon.ELECTRON_MASS
    momenta = argon.momentum(transfer, argon.ELECTRON_MASS) * argon.momentum(kinetic, steps.mass)
    out = turned(directions[at], np.minimum(transfer * total / momenta, 1.0), rng.uniform(0, 2 * np.pi, len(at)))
    n = len(at)
    return Quanta(np.full(n, ELECTRON), points[at], out, transfer, np.full(n, group), np.ones(n, bool)), carried


def _fluctuated(rng, steps: Steps, mean):
    variance = argon.XI / steps.beta**2 * steps.size * np.minimum(UNKNOWN_FROM, steps.top)
    shape = np.maximum(mean**2 / variance, 0.05)
    return rng.gamma(shape) * mean / shape
