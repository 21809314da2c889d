"""Cosmic rays: muons, alone and in bundles, some soft showers and protons, over the whole readout."""

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.simulation.deposits import ELECTRON, PHOTON, dot, length
from cosmictagger_tf.simulation.hadrons import POSITIVE, Followed
from cosmictagger_tf.simulation.tracks import PROTON_MASS

# Means per readout, tuned on the sample's energy and number of cosmic pixels. Arrivals are spread over two drift times.
SHOWERS_OF_MUONS = 10.2
BUNDLE = 0.08  # share of them with companions, 1 to 3 parallel muons at the same time
SOFT_SHOWERS = 0.8
# What came in, as the product sbnd_cosmic_primary numbers it; 0 is none of them.
MUON, SHOWER, PROTON = 1, 2, 3
PRIMARIES = ("none", "muon", "shower", "proton")
ZENITH_POWER = 2.0  # flux ~ cos^2(zenith) per solid angle (PDG, "Cosmic rays")
CENTRE = 0.5 * (geometry.LOWER + geometry.UPPER)
RADIUS = 0.5 * length(geometry.UPPER - geometry.LOWER)
# A line through a disc of RADIUS crosses the active volume about this often.
CROSSING = 0.62


def cosmics(rng, first_group: int, stray_protons: float) -> tuple[list[Followed], np.ndarray, np.ndarray]:
    """The cosmic rays of a readout, each one group; each one's time in rows (drift later than in time); what it is.

    Args:
        rng: of the readout.
        first_group: the number of the first.
        stray_protons: their mean number.
    """
    particles: list[Followed] = []
    times, primaries = [], []
    for _ in range(rng.poisson(SHOWERS_OF_MUONS / CROSSING)):
        time = rng.uniform(-geometry.ROWS_PER_TPC, geometry.ROWS_PER_TPC)
        direction = downward(rng)
        for _ in range(1 + (rng.integers(1, 4) if rng.random() < BUNDLE else 0)):
            one = _muon(rng, direction, first_group + len(particles))
            if one is not None:
                particles.append(one)
                times.append(time)
                primaries.append(MUON)
    for make, primary, mean in ((_soft_shower, SHOWER, SOFT_SHOWERS), (_proton, PROTON, stray_protons)):
        for _ in range(rng.poisson(mean)):
            particles.append(make(rng, first_group + len(particles)))
            times.append(rng.uniform(-geometry.ROWS_PER_TPC, geometry.ROWS_PER_TPC))
            primaries.append(primary)
    return particles, np.array(times), np.array(primaries, np.int64)


def downward(rng) -> np.ndarray:
    """A unit vector from above: cos^2 in the zenith angle per solid angle, any azimuth."""
    cosine = rng.random() ** (1.0 / (ZENITH_POWER + 1.0))
    azimuth = rng.uniform(0.0, 2 * np.pi)
    sine = np.sqrt(1 - cosine**2)
    return np.array([sine * np.cos(azimuth), -cosine, sine * np.sin(azimuth)])


def muon_energy(rng, cosine: float) -> float:
    """Kinetic energy (MeV) of a muon at sea level: Gaisser's formula, modified for low energies (arXiv:1509.06176)."""
    energy = np.geomspace(0.2, 2000.0, 400)
    c = np.sqrt((cosine**2 + 0.102573**2 - 0.068287 * cosine**0.958633 + 0.0407253 * cosine**0.817285) / 0.982960)
    flux = (energy * (1 + 3.64 / (energy * c**1.29))) ** -2.7
    flux *= 1 / (1 + 1.1 * energy * c / 115) + 0.054 / (1 + 1.1 * energy * c / 850)
    total = np.cumsum(flux * energy)
    return 1000.0 * float(np.interp(rng.random(), total / total[-1], energy))


def entry(rng, direction: np.ndarray) -> np.ndarray | None:
    """Where a line, uniform over a disc around the detector, enters the active volume; None: never."""
    across = rng.normal(size=3)
    across -= dot(across, direction) * direction
    across *= RADIUS * np.sqrt(rng.random()) / length(across)
    point = CENTRE + across
    enter, leave = geometry.crossing(point, direction)
    return point + (enter + 0.01) * direction if enter < leave else None


def _muon(rng, direction, group):
    start = entry(rng, direction)
    if start is None:
        return None
    one = Followed(rng, group)
    one.muon(start, direction, muon_energy(rng, -direction[1]), rng.random() < POSITIVE)
    return one


def _soft_shower(rng, group):
    # A photon or electron of an air shower, or of a muon that radiated above the detector: dN/dE ~ E^-2.
    one = Followed(rng, group)
    direction = downward(rng)
    start = None
    while start is None:
        start = entry(rng, direction)
    one.emit(PHOTON if rng.random() < 0.7 else ELECTRON, start, direction, 15.0 / (1 - 0.98 * rng.random()))
    return one


def _proton(rng, group):
    # From a cosmic neutron: a short proton anywhere, with the neutron's further collisions around it.
    one = Followed(rng, group)
    point = rng.uniform(geometry.LOWER, geometry.UPPER)
    direction = downward(rng)
    one.add(PROTON_MASS, point, direction, rng.exponential(60.0) + 5.0)
    one.neutron(point)
    return one
