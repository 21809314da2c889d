"""Electrons and photons: delta rays, Michel electrons, electromagnetic showers and stray photons, all at once.

Every electron of an event takes one step in each turn of one loop, so that the loop is as long as one shower and not as
the sum of all; photons fly to their next interaction every few turns.
"""

from dataclasses import replace
from functools import cache

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.simulation import argon
from cosmictagger_tf.simulation.deposits import ELECTRON, PHOTON, POSITRON, Deposits, Quanta, isotropic, turned

SHORT_STEP, LONG_STEP = 0.1, 0.3  # cm, below and above LONG_FROM
LONG_FROM = 10.0  # MeV
STOP_BELOW = 0.12  # MeV: an electron's range is then 0.2 mm
PHOTON_CUT = 0.15  # MeV: the least photon that bremsstrahlung emits
PHOTONS_EVERY = 8
MOST_TURNS = 2500
STRAY = 30.0  # cm outside the active volume where a photon may still come back
# Of the electrons that photons of a few MeV knock out, this share is missing in the sample's truth.
UNRECORDED, UNRECORDED_BELOW = 0.17, 4.0


def shower(rng, seeds: Quanta) -> Deposits:
    """The deposits, in the active volume, of some electrons and photons and of all that they make."""
    photons = [seeds.take(seeds.kind == PHOTON)]
    electrons = seeds.take(seeds.kind != PHOTON)
    done = []
    for turn in range(MOST_TURNS):
        if turn % PHOTONS_EVERY == 0 or not len(electrons):
            made, left = fly(rng, Quanta.join(photons))
            photons = [left]
            if len(made):
                electrons = Quanta.join([electrons, made])
        if not len(electrons):
            if not len(photons[0]):
                break
            continue
        electrons, deposits, emitted = step(rng, electrons)
        done.append(deposits)
        if len(emitted):
            photons.append(emitted)
    everything = Deposits.join([Deposits.none(), *done])
    return everything.take(geometry.inside(everything.points))


def step(rng, electrons: Quanta) -> tuple[Quanta, Deposits, Quanta]:
    """One step of each electron: those that remain, what they left, photons emitted."""
    kinetic = electrons.energy
    n = len(kinetic)
    size = np.where(kinetic > LONG_FROM, LONG_STEP, SHORT_STEP)
    loss = argon.electron_stopping_power(kinetic) * size
    # Half of the variance that a whole Landau spectrum up to 1 MeV would have; the mean is Bethe's.
    shape = np.maximum(loss**2 / (0.5 * argon.XI * size), 0.5)
    loss = loss * rng.standard_gamma(shape) / shape
    lost = np.minimum(loss, kinetic)
    size = size * lost / loss
    left = kinetic - lost
    ending = left < STOP_BELOW
    lost = np.where(ending, kinetic, lost)
    moves = electrons.directions * size[:, None]
    deposits = Deposits(electrons.points + 0.5 * moves, moves, lost, electrons.group, electrons.recorded)
    points = electrons.points + moves
    emitted, radiated = _bremsstrahlung(rng, electrons, points, np.where(ending, 0.0, left), size)
    left = left - radiated
    width = argon.scattering_angle(np.maximum(kinetic, STOP_BELOW), argon.ELECTRON_MASS, size)
    directions = electrons.directions + np.minimum(width, 0.8)[:, None] * rng.standard_normal((n, 3))
    directions /= np.sqrt(np.einsum("ij,ij->i", directions, directions))[:, None]
    moved = Quanta(electrons.kind, points, directions, left, electrons.group, electrons.recorded)
    emitted = Quanta.join([emitted, _annihilation(rng, moved.take(ending & (electrons.kind == POSITRON)))])
    return moved.take(~ending & (left > 0.02) & geometry.inside(points, 5.0)), deposits, emitted


def _bremsstrahlung(rng, electrons, points, kinetic, size):
    # dN/dk = (4/3 - 4/3 y + y^2) / (X0 k), y = k/E (PDG 34.29): drawn from 4/3 / k, then thinned.
    span = np.log(np.maximum(kinetic / PHOTON_CUT, 1.0))
    hit = rng.random(len(size)) < size / argon.RADIATION_LENGTH * 4 / 3 * span
    at = np.flatnonzero(hit)
    y = np.exp(-rng.random(len(at)) * span[at])
    kept = rng.random(len(y)) < 1 - y + 0.75 * y * y
    at, y = at[kept], y[kept]
    radiated = np.zeros(len(size))
    radiated[at] = y * kinetic[at]
    n = len(at)
    directions = _opened(rng, electrons.directions[at], kinetic[at])
    parents = electrons.group[at], electrons.recorded[at]
    photons = Quanta(np.full(n, PHOTON), points[at], directions, radiated[at], *parents)
    return photons, radiated


def _annihilation(rng, positrons):
    n = len(positrons)
    if not n:
        return Quanta.none()
    one = isotropic(rng, n)
    energy = np.full(n, argon.ELECTRON_MASS)
    both = [
        Quanta(np.full(n, PHOTON), positrons.points, d, energy, positrons.group, positrons.recorded)
        for d in (one, -one)
    ]
    return Quanta.join(both)


def fly(rng, photons: Quanta) -> tuple[Quanta, Quanta]:
    """Every photon to its next interaction: the electrons and positrons made there, and the photons scattered on."""
    n = len(photons)
    if not n:
        return Quanta.none(), photons
    energies, rate, pair_share, photoelectric_share = argon.photon_table()
    logs = np.log(photons.energy), np.log(energies)
    distance = rng.exponential(size=n) / np.interp(*logs, rate)
    points = photons.points + distance[:, None] * photons.directions
    kind = rng.random(n)
    pair = kind < np.interp(*logs, pair_share)
    absorbed = kind > 1 - np.interp(*logs, photoelectric_share)
    stay = geometry.inside(points, STRAY)
    at = replace(photons, points=points)
    recoils, scattered = _compton(rng, at.take(stay & ~pair & ~absorbed))
    made = Quanta.join([_pairs(rng, at.take(stay & pair)), _as_electrons(at.take(stay & absorbed)), recoils])
    lost = (made.energy < UNRECORDED_BELOW) & (rng.random(len(made)) < UNRECORDED)
    return replace(made, recorded=made.recorded & ~lost), scattered


def _as_electrons(photons):
    return Quanta(np.full(len(photons), ELECTRON), *_rest(photons, photons.directions, photons.energy))


def _rest(parents, directions, energy):
    return parents.points, directions, energy, parents.group, parents.recorded


def _pairs(rng, photons):
    n = len(photons)
    share = rng.random(n)
    energy = np.maximum(photons.energy - 2 * argon.ELECTRON_MASS, 0.02)
    made = []
    for kind, part in ((ELECTRON, share), (POSITRON, 1 - share)):
        directions = _opened(rng, photons.directions, np.maximum(part * energy, 0.5))
        made.append(Quanta(np.full(n, kind), *_rest(photons, directions, np.maximum(part * energy, 0.02))))
    return Quanta.join(made)


def _opened(rng, directions, energy):
    # Emission angles of pairs and of bremsstrahlung are some m/E.
    directions = directions + argon.ELECTRON_MASS / energy[:, None] * rng.standard_normal(directions.shape)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _compton(rng, photons):
    n = len(photons)
    if not n:
        return Quanta.none(), photons
    energy = photons.energy
    cosine = _compton_cosine(rng, energy)
    after = energy / (1 + energy / argon.ELECTRON_MASS * (1 - cosine))
    directions = turned(photons.directions, cosine, rng.uniform(0, 2 * np.pi, n))
    recoil = energy[:, None] * photons.directions - after[:, None] * directions
    recoil /= np.maximum(np.linalg.norm(recoil, axis=1, keepdims=True), 1e-9)
    electrons = Quanta(np.full(n, ELECTRON), *_rest(photons, recoil, energy - after))
    scattered = Quanta(np.full(n, PHOTON), *_rest(photons, directions, after))
    return electrons.take(electrons.energy > 0.02), scattered.take(after > 0.03)


def _compton_cosine(rng, energy):
    energies, quantiles = _klein_nishina()
    row = np.clip(np.searchsorted(energies, energy), 0, len(energies) - 1)
    at = rng.random(len(energy)) * (quantiles.shape[1] - 1)
    low = at.astype(int)
    return quantiles[row, low] + (at - low) * (quantiles[row, low + 1] - quantiles[row, low])


@cache
def _klein_nishina():
    # Quantiles of the scattering angle's cosine by photon energy.
    energies = np.geomspace(0.03, 100.0, 80)
    cosine = np.linspace(-1.0, 1.0, 4001)
    quantiles = np.empty((len(energies), 129))
    for i, energy in enumerate(energies):
        ratio = 1 / (1 + energy / argon.ELECTRON_MASS * (1 - cosine))
        density = ratio**2 * (ratio + 1 / ratio - (1 - cosine**2))
        total = np.cumsum(density)
        quantiles[i] = np.interp(np.linspace(0, 1, 129), (total - total[0]) / (total[-1] - total[0]), cosine)
    return energies, quantiles
