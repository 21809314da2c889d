"""A small neutrino generator: flavour, current, energy, and the particles that leave the nucleus."""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.data.larcv_format import PARTICLE_DTYPE
from cosmictagger_tf.simulation.deposits import ELECTRON, dot, isotropic, length
from cosmictagger_tf.simulation.hadrons import Followed

ELECTRON_NEUTRINO, MUON_NEUTRINO = 12, 14
CHARGED, NEUTRAL = 0, 1  # larcv's current_type
QUASIELASTIC, RESONANT = 1001, 1003  # LArSoft's interaction codes: 1001 CC and 1002 NC QE, 1003 CC and 1006 NC resonant
MASSES = {11: 0.000511, 13: 0.105658, 12: 0.0, 14: 0.0, 2212: 0.938272, 2112: 0.939565, 211: 0.13957, 111: 0.134977}
NUCLEON = 0.939
DELTA_MASS, DELTA_WIDTH = 1.232, 0.117
BINDING = 0.0295  # GeV, as the sample's nuclear remnants have it
FERMI = 0.225  # GeV/c, argon's Fermi momentum
# Share of the interactions that are of electron neutrinos. The beam has far fewer; they are as wanted in training as in
# the set that the sample is from.
ELECTRON_SHARE = 0.3


@dataclass(frozen=True)
class Interaction:
    """One neutrino interaction; energies in GeV.

    Attributes:
        pdg: of the neutrino.
        current: CHARGED or NEUTRAL.
        kind: LArSoft's code of the interaction.
        energy: of the neutrino.
        vertex: [3], cm.
        time: us after the readout's trigger.
        outgoing: (pdg, momentum [3] in GeV/c) of each particle that leaves the nucleus.
    """

    pdg: int
    current: int
    kind: int
    energy: float
    vertex: np.ndarray
    time: float
    outgoing: list


def interact(rng, neutral_currents: float) -> Interaction:
    """A random interaction, its vertex anywhere in the active volume; a neutral current with the given probability.

    Energies are spread as those of the Booster beam's interactions, 0.2 to 3 GeV, most about 1. Quasielastic scattering
    and one-pion production by the Delta resonance, with their two-body kinematics; then, in a crude way, the nucleus:
    Fermi momentum, binding, pions absorbed or exchanged, nucleons knocked out.
    """
    pdg = ELECTRON_NEUTRINO if rng.random() < ELECTRON_SHARE else MUON_NEUTRINO
    current = NEUTRAL if rng.random() < neutral_currents else CHARGED
    lepton = pdg if current == NEUTRAL else pdg - 1
    vertex = rng.uniform(geometry.LOWER, geometry.UPPER)
    while True:
        energy = 0.2 + rng.gamma(3.0, 0.36)
        resonant = rng.random() < 0.55 * np.clip((energy - 0.4) / 0.8, 0.0, 1.0)
        mass = np.clip(rng.standard_cauchy() * DELTA_WIDTH / 2 + DELTA_MASS, 1.09, 2.0) if resonant else NUCLEON
        momenta = _scatter(rng, energy, MASSES[lepton], mass)
        if momenta is not None:
            break
    lepton_momentum, hadron_momentum = momenta
    hadron_momentum = hadron_momentum + rng.normal(0, FERMI / np.sqrt(5), 3)
    hadrons = (
        _delta(rng, mass, hadron_momentum) if resonant else [(2212 if current == CHARGED else 2112, hadron_momentum)]
    )
    if not resonant and current == NEUTRAL and rng.random() < 0.5:
        hadrons = [(2212, hadron_momentum)]
    kind = (RESONANT if current == CHARGED else 1006) if resonant else (QUASIELASTIC if current == CHARGED else 1002)
    outgoing = [(lepton, lepton_momentum), *_leave_nucleus(rng, hadrons)]
    return Interaction(pdg, current, kind, energy, vertex, rng.uniform(1.0, 9.0), outgoing)


def _scatter(rng, energy, lepton_mass, mass):
    # Two-body scattering off a nucleon at rest to an invariant mass; Q^2 by a dipole form factor. None: impossible.
    q2 = 0.3 * (1 / np.sqrt(1 - rng.random() * 0.985) - 1) + 0.01
    transfer = (mass**2 - NUCLEON**2 + q2) / (2 * NUCLEON) + BINDING
    lepton_energy = energy - transfer
    if lepton_energy <= lepton_mass + 0.005:
        return None
    p = np.sqrt(lepton_energy**2 - lepton_mass**2)
    cosine = (2 * energy * lepton_energy - lepton_mass**2 - q2) / (2 * energy * p)
    if not -1 <= cosine <= 1:
        return None
    azimuth, sine = rng.uniform(0, 2 * np.pi), np.sqrt(1 - cosine**2)
    lepton = p * np.array([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine])
    return lepton, np.array([0.0, 0.0, energy]) - lepton


def _delta(rng, mass, momentum):
    # Delta -> nucleon pion, isotropic in its frame.
    charged = rng.random() < 0.67
    pion, nucleon = (211 if charged else 111), (2212 if rng.random() < 0.5 else 2112)
    m1, m2 = MASSES[pion], MASSES[nucleon]
    p = np.sqrt(max((mass**2 - (m1 + m2) ** 2) * (mass**2 - (m1 - m2) ** 2), 0.0)) / (2 * mass)
    out = isotropic(rng, 1)[0] * p
    return [(pion, _boost(out, m1, momentum, mass)), (nucleon, _boost(-out, m2, momentum, mass))]


def _boost(p, m, momentum, mass):
    total = np.sqrt(mass**2 + dot(momentum, momentum))
    beta, gamma = momentum / total, total / mass
    along, energy = dot(beta, p), np.sqrt(m**2 + dot(p, p))
    return p + beta * (gamma**2 / (gamma + 1) * along + gamma * energy)


def _leave_nucleus(rng, hadrons):
    left = []
    for pdg, momentum in hadrons:
        if pdg in (211, 111) and rng.random() < 0.25:
            pdg, momentum = 2212, momentum * 1.3
        elif pdg in (211, 111) and rng.random() < 0.2:
            pdg = 111 if pdg == 211 else 211
        left.append((pdg, momentum))
    for _ in range(rng.poisson(1.0)):
        kinetic = rng.exponential(0.025) + 0.002
        p = np.sqrt(kinetic * (kinetic + 2 * NUCLEON))
        left.append((2212 if rng.random() < 0.4 else 2112, isotropic(rng, 1)[0] * p))
    return left


def follow(rng, interaction: Interaction, group: int) -> Followed:
    """All outgoing particles through the detector."""
    one = Followed(rng, group)
    for pdg, momentum in interaction.outgoing:
        p = length(momentum)
        kinetic = 1000.0 * (np.sqrt(p**2 + MASSES[pdg] ** 2) - MASSES[pdg])
        direction = momentum / max(p, 1e-9)
        start = interaction.vertex
        if pdg == 13:
            one.muon(start, direction, kinetic, positive=False)
        elif pdg == 11:
            one.emit(ELECTRON, start, direction, kinetic)
        elif pdg == 211:
            one.pion(start, direction, kinetic, positive=rng.random() < 0.75)
        elif pdg == 111:
            one.neutral_pion(start, direction, kinetic)
        elif pdg == 2212:
            one.proton(start, direction, kinetic)
        elif pdg == 2112:
            one.neutron(start, fast=kinetic > 20.0)
    one.gammas(interaction.vertex, rng.poisson(1.5))
    return one


def particles(interaction: Interaction) -> np.ndarray:
    """The particle product's rows (PARTICLE_DTYPE), as the sample has them: the neutrino first, then what leaves."""
    neutrino = (interaction.pdg, np.array([0.0, 0.0, interaction.energy]))
    everything = [neutrino, *interaction.outgoing]
    rows = np.zeros(len(everything), PARTICLE_DTYPE)
    rows["id"] = np.arange(len(rows))
    rows["mcst_index"] = rows["mct_index"] = 65535
    rows["shape"], rows["dist_travel"] = 2, -1.0
    rows["trackid"] = np.arange(len(rows))
    rows["parent_trackid"] = rows["ancestor_trackid"] = np.iinfo(np.uint32).max
    rows["process"] = b"primary"
    rows["current_type"] = rows["interaction_type"] = -1
    rows["current_type"][0], rows["interaction_type"][0] = interaction.current, interaction.kind
    for axis, value in zip("xyz", interaction.vertex, strict=True):
        rows["vtx"][axis] = value
    rows["vtx"]["t"] = 1000.0 * interaction.time
    for row, (pdg, momentum) in zip(rows, everything, strict=True):
        row["pdg"] = pdg
        row["px"], row["py"], row["pz"] = momentum
        row["energy_init"] = np.sqrt(dot(momentum, momentum) + MASSES[pdg] ** 2)
    return rows
