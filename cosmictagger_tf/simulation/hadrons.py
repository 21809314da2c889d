"""What becomes of muons, pions, protons and neutrons: decays, interactions, secondaries."""

import numpy as np

from cosmictagger_tf.simulation.deposits import ELECTRON, PHOTON, POSITRON, Deposits, Quanta, dot, isotropic, length
from cosmictagger_tf.simulation.tracks import MUON_MASS, PION_MASS, PROTON_MASS, Track, track

# cm: nuclear interaction length of liquid argon for pions and nucleons (PDG: 119.7 g/cm^2, nucleons; pions a bit more).
INTERACTION_LENGTH = {PION_MASS: 100.0, PROTON_MASS: 86.0}
NEUTRON_LENGTH = 30.0  # cm between collisions of a neutron of some MeV
MICHEL_ENDPOINT = 52.8  # MeV
# Negative muons are mostly captured by argon (74 %); cosmic muons are positive in 56 % of all cases (PDG).
CAPTURED = 0.74
POSITIVE = 0.56


class Followed:
    """What one primary leaves: deposits, and electrons and photons for the shower."""

    def __init__(self, rng, group: int):
        self.rng, self.group = rng, group
        self.deposits: list[Deposits] = []
        self.quanta: list[Quanta] = []

    def add(self, mass: float, start, direction, kinetic: float, length: float = np.inf) -> Track:
        """Follows one charged particle without what comes after it."""
        way = track(self.rng, mass, start, direction, kinetic, self.group, length)
        self.deposits.append(way.deposits)
        self.quanta.append(way.deltas)
        return way

    def emit(self, kind: int, start, directions, energy):
        """Electrons or photons from a point."""
        self.quanta.append(Quanta.make(kind, start, directions, energy, self.group))

    def muon(self, start, direction, kinetic: float, positive: bool):
        """A muon, and its Michel electron or what its capture leaves."""
        way = self.add(MUON_MASS, start, direction, kinetic)
        if not way.stopped:
            return
        if not positive and self.rng.random() < CAPTURED:
            self.gammas(way.end, self.rng.poisson(1.5))
            self.neutron(way.end)
        else:
            self.emit(POSITRON if positive else ELECTRON, way.end, isotropic(self.rng, 1), michel_energy(self.rng))

    def pion(self, start, direction, kinetic: float, positive: bool, generation: int = 0):
        """A charged pion: it stops (decays, or is captured) or meets a nucleus."""
        way = self.add(PION_MASS, start, direction, kinetic, self.rng.exponential(INTERACTION_LENGTH[PION_MASS]))
        if way.stopped and positive:
            self.add(MUON_MASS, way.end, isotropic(self.rng, 1)[0], 4.12)
            self.emit(POSITRON, way.end, isotropic(self.rng, 1), michel_energy(self.rng))
        elif way.stopped:
            self.star(way.end, 2.0)
        elif way.kinetic > 1.0 and _within(way):
            self.star(way.end, 1.5)
            if generation < 3 and self.rng.random() < 0.6:
                kinked = way.direction + 0.6 * self.rng.normal(size=3)
                left = way.kinetic * self.rng.uniform(0.3, 0.95)
                self.pion(way.end, kinked / length(kinked), left, positive, generation + 1)

    def proton(self, start, direction, kinetic: float):
        """A proton: it stops, or meets a nucleus."""
        way = self.add(PROTON_MASS, start, direction, kinetic, self.rng.exponential(INTERACTION_LENGTH[PROTON_MASS]))
        if not way.stopped and way.kinetic > 20.0 and _within(way):
            self.star(way.end, 1.0)
            kinked = way.direction + 0.4 * self.rng.normal(size=3)
            self.add(PROTON_MASS, way.end, kinked / length(kinked), way.kinetic * self.rng.uniform(0.2, 0.9))

    def star(self, point, protons: float):
        """A nucleus that breaks up: some slow protons, photons, a neutron."""
        for _ in range(self.rng.poisson(protons)):
            self.add(PROTON_MASS, point, isotropic(self.rng, 1)[0], self.rng.exponential(25.0) + 2.0)
        self.gammas(point, self.rng.poisson(1.5))
        self.neutron(point)

    def neutron(self, start, fast: bool = False):
        """A neutron: a random walk whose collisions leave photons of some MeV, or short protons."""
        point = np.asarray(start, float)
        for _ in range(self.rng.integers(2, 9 if fast else 6)):
            point = point + isotropic(self.rng, 1)[0] * self.rng.exponential(NEUTRON_LENGTH)
            if fast and self.rng.random() < 0.25:
                self.add(PROTON_MASS, point, isotropic(self.rng, 1)[0], self.rng.exponential(15.0) + 2.0)
            self.gammas(point, self.rng.poisson(1.0))

    def gammas(self, point, count: int):
        """Photons of an excited nucleus: 0.5 to 6 MeV, mostly the low ones."""
        if count:
            self.emit(PHOTON, point, isotropic(self.rng, count), 0.5 + self.rng.exponential(1.5, count))

    def neutral_pion(self, start, direction, kinetic: float):
        """A pi0: two photons, isotropic in its own frame, boosted."""
        mass = 134.977
        gamma = 1 + kinetic / mass
        beta = np.sqrt(1 - 1 / gamma**2)
        one = isotropic(self.rng, 1)[0]
        for own in (one, -one):
            along = dot(own, direction)
            energy = mass / 2 * gamma * (1 + beta * along)
            boosted = mass / 2 * (own + (gamma * beta + (gamma - 1) * along) * np.asarray(direction))
            self.emit(PHOTON, start, (boosted / length(boosted))[None], energy)


def _within(way: Track) -> bool:
    return len(way.deposits) > 0


def michel_energy(rng) -> float:
    """MeV of the electron of a muon at rest: x^2 (3 - 2 x)."""
    while True:
        x, u = rng.random(2)
        if u < x * x * (3 - 2 * x):
            return MICHEL_ENDPOINT * x
