"""Liquid argon: how charged particles lose energy in it, how far they reach, and how photons are absorbed.

Units: MeV and cm. Formulas and constants are those of the Review of Particle Physics, chapter "Passage of particles
through matter" (PDG 2022, sections 34.2 and 34.4), and its table of atomic and nuclear properties.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

DENSITY = 1.396  # g/cm^3 at 87 K
Z_OVER_A = 18 / 39.948
K = 0.307075  # MeV cm^2 / mol
MEAN_EXCITATION = 188e-6
RADIATION_LENGTH = 19.55 / DENSITY
ELECTRON_MASS = 0.51099895
# MeV/cm: xi of a Landau distribution per cm at beta = 1, and the strength of the delta-ray spectrum xi / T^2.
XI = 0.5 * K * Z_OVER_A * DENSITY
# Density effect of liquid argon (Sternheimer, Berger, Seltzer 1984, as in the PDG's muon tables).
_C, _X0, _X1, _A, _M = 5.2146, 0.2, 3.0, 0.19559, 3.0


def beta_gamma(kinetic, mass: float):
    """beta and gamma of a particle."""
    gamma = 1.0 + kinetic / mass
    return np.sqrt(1.0 - 1.0 / gamma**2), gamma


def momentum(kinetic, mass: float):
    """MeV/c."""
    return np.sqrt(kinetic * (kinetic + 2.0 * mass))


def density_effect(betagamma):
    """delta of Bethe's formula, by Sternheimer's parametrisation."""
    x = np.log10(betagamma)
    delta = 2 * np.log(10) * x - _C + _A * np.maximum(_X1 - x, 0.0) ** _M
    return np.where(x < _X0, 0.0, np.maximum(delta, 0.0))


def highest_transfer(kinetic, mass: float):
    """The most energy that one collision gives to an electron (PDG 34.4)."""
    beta, gamma = beta_gamma(kinetic, mass)
    ratio = ELECTRON_MASS / mass
    return 2 * ELECTRON_MASS * (beta * gamma) ** 2 / (1 + 2 * gamma * ratio + ratio**2)


def stopping_power(kinetic, mass: float):
    """Mean energy loss of a heavy charged particle, MeV/cm: Bethe's formula (PDG 34.5)."""
    beta, gamma = beta_gamma(kinetic, mass)
    top = highest_transfer(kinetic, mass)
    inner = 0.5 * np.log(2 * ELECTRON_MASS * (beta * gamma) ** 2 * top / MEAN_EXCITATION**2)
    return 2 * XI / beta**2 * np.maximum(inner - beta**2 - density_effect(beta * gamma) / 2, 0.3)


def electron_stopping_power(kinetic):
    """Mean collision loss of an electron, MeV/cm: Berger and Seltzer's formula with Moller scattering (PDG 34.24)."""
    beta, gamma = beta_gamma(kinetic, ELECTRON_MASS)
    inner = np.log(ELECTRON_MASS * (beta * gamma) ** 2 * ELECTRON_MASS * (gamma - 1) / 2 / MEAN_EXCITATION**2)
    inner += 1 - beta**2 - (2 * gamma - 1) / gamma**2 * np.log(2) + ((gamma - 1) / gamma) ** 2 / 8
    return XI / beta**2 * (inner - density_effect(beta * gamma))


@dataclass(frozen=True)
class RangeTable:
    """Kinetic energy against residual range (continuous slowing down) of one kind of particle."""

    kinetic: np.ndarray
    range: np.ndarray

    def reach(self, kinetic):
        """cm that a particle of this energy still goes."""
        return np.interp(kinetic, self.kinetic, self.range)

    def energy(self, residual):
        """MeV of a particle that still goes this far."""
        return np.interp(residual, self.range, self.kinetic)


@cache
def range_table(mass: float) -> RangeTable:
    """The table of a heavy particle's mass (MeV)."""
    kinetic = np.geomspace(0.05, 3e6, 4000)
    slowness = 1.0 / stopping_power(kinetic, mass)
    steps = np.diff(kinetic) * 0.5 * (slowness[1:] + slowness[:-1])
    return RangeTable(kinetic, np.concatenate([[0.0], np.cumsum(steps)]))


def scattering_angle(kinetic, mass: float, step):
    """Highland's width (rad, in a plane) of multiple scattering over `step` cm (PDG 34.16, without its logarithm: the
    steps are far shorter than a radiation length, where the formula's logarithm must count the whole path)."""
    beta, _ = beta_gamma(kinetic, mass)
    return 13.6 / (beta * momentum(kinetic, mass)) * np.sqrt(step / RADIATION_LENGTH)


# --- photons ---------------------------------------------------------------------------------------------------------

AVOGADRO, CLASSICAL_RADIUS_SQUARED = 6.02214e23, 7.94079e-26
_PHOTONS = np.geomspace(0.02, 2e5, 600)


def compton_per_cm(energy):
    """1/cm: the Klein-Nishina cross-section on argon's electrons."""
    a = energy / ELECTRON_MASS
    log = np.log(1 + 2 * a)
    sigma = (1 + a) / a**2 * (2 * (1 + a) / (1 + 2 * a) - log / a) + log / (2 * a) - (1 + 3 * a) / (1 + 2 * a) ** 2
    return 2 * np.pi * CLASSICAL_RADIUS_SQUARED * sigma * AVOGADRO * Z_OVER_A * DENSITY


def pair_per_cm(energy):
    """1/cm: 7/9 of a radiation length at high energy; towards the threshold a logarithm that meets XCOM within 15 %."""
    rise = np.clip(np.log(np.maximum(energy, 1.03) / 1.4) / np.log(200.0), 0.0, 1.0)
    return 7 / 9 / RADIATION_LENGTH * rise


def photoelectric_per_cm(energy):
    """1/cm: a power law through XCOM's values for argon (0.1 cm^2/g at 83 keV)."""
    return 0.1 * (0.083 / energy) ** 3 * DENSITY


@cache
def photon_table():
    """(energies, 1/cm in total, share of pair production, share of the photoelectric effect)."""
    parts = pair_per_cm(_PHOTONS), compton_per_cm(_PHOTONS), photoelectric_per_cm(_PHOTONS)
    total = parts[0] + parts[1] + parts[2]
    return _PHOTONS, total, parts[0] / total, parts[2] / total
