"""Particles in liquid argon, against the numbers that the Review of Particle Physics and NIST print."""

import numpy as np
import pytest

from cosmictagger_tf import geometry
from cosmictagger_tf.simulation import argon, hadrons, noise, response, tracks
from cosmictagger_tf.simulation.cosmics import downward, muon_energy
from cosmictagger_tf.simulation.deposits import ELECTRON, PHOTON, Quanta
from cosmictagger_tf.simulation.neutrinos import CHARGED, MASSES, NEUTRAL, interact
from cosmictagger_tf.simulation.showers import fly, shower
from cosmictagger_tf.simulation.tracks import MUON_MASS, PROTON_MASS, track

CENTRE = 0.5 * (geometry.LOWER + geometry.UPPER)
ALONG = np.array([0.0, 0.0, 1.0])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_least_loss_of_a_muon():
    # PDG, muon table of liquid argon: 1.508 MeV cm^2/g.
    least = argon.stopping_power(np.geomspace(50, 5000, 500), MUON_MASS).min() / argon.DENSITY
    assert least == pytest.approx(1.508, rel=0.01)


def test_least_collision_loss_of_an_electron():
    # NIST ESTAR, argon: about 1.36 MeV cm^2/g.
    least = argon.electron_stopping_power(np.geomspace(0.3, 5, 200)).min() / argon.DENSITY
    assert least == pytest.approx(1.36, rel=0.06)


@pytest.mark.parametrize("kinetic", [600.0, 4000.0])
def test_mean_loss_of_muons_is_bethes(rng, kinetic):
    """Track and delta rays together lose, on average, what the stopping power says."""
    start = np.array([50.0, 0.0, 1.0])
    lost, went = 0.0, 0.0
    for _ in range(60):
        way = track(rng, MUON_MASS, start, ALONG, kinetic, 0, length=100.0)
        # A rare hard delta ray would dominate the sample's mean: each counts up to 20 MeV, here and in the theory.
        lost += way.deposits.energy.sum() + np.minimum(way.deltas.energy, 20.0).sum()
        went += np.linalg.norm(way.deposits.steps[way.deposits.recorded], axis=1).sum()
    beta, _ = argon.beta_gamma(kinetic - 100, MUON_MASS)
    top = argon.highest_transfer(kinetic - 100, MUON_MASS)
    above = argon.XI / beta**2 * max(np.log(top / 20.0) - (1 - 20.0 / top), 0.0)
    expected = argon.stopping_power(kinetic - 100, MUON_MASS) - above
    assert lost / went == pytest.approx(expected, rel=0.04)


def test_most_probable_loss_is_below_the_mean(rng):
    way = track(rng, MUON_MASS, np.array([50.0, 0.0, 1.0]), ALONG, 5000.0, 0)
    loss = way.deposits.energy[way.deposits.recorded]
    loss = loss[: len(loss) // 2 * 2].reshape(-1, 2).sum(axis=1)
    assert np.median(loss) < loss.mean()


def test_the_truth_lacks_knocked_out_electrons_that_are_not_followed(rng):
    least, most = tracks.UNKNOWN_FROM, tracks.DELTA_CUT
    energies, went = [], 0.0
    for _ in range(20):
        way = track(rng, MUON_MASS, np.array([50.0, 0.0, 1.0]), ALONG, 4000.0, 0, length=400.0)
        energies.append(way.deposits.energy[~way.deposits.recorded])
        went += np.linalg.norm(way.deposits.steps[way.deposits.recorded], axis=1).sum()
        assert geometry.inside(way.deposits.points).all()
    energies = np.concatenate(energies)
    assert energies.min() >= least and energies.max() <= most
    # The integral of T xi / T^2, a little less for the spectrum's factor 1 - beta^2 T / Tmax.
    assert energies.sum() / went == pytest.approx(argon.XI * np.log(most / least), rel=0.05)


@pytest.mark.parametrize("mass,kinetic", [(MUON_MASS, 250.0), (PROTON_MASS, 150.0)])
def test_stopping_particles_end_in_a_bragg_peak(rng, mass, kinetic):
    way = track(rng, mass, CENTRE, ALONG, kinetic, 0)
    assert way.stopped
    known = way.deposits.take(way.deposits.recorded)
    density = known.energy / np.linalg.norm(known.steps, axis=1)
    assert density[-8:].mean() > 2 * density[: len(density) // 2].mean()
    assert way.deposits.energy.sum() + way.deltas.energy.sum() == pytest.approx(kinetic, rel=0.12)


def test_muon_range():
    # PDG, muon table of liquid argon: 1 GeV goes 617 g/cm^2 or so; 2 % are lost to radiation there.
    assert argon.range_table(MUON_MASS).reach(1000.0) * argon.DENSITY == pytest.approx(617, rel=0.03)


def test_muons_scatter_by_highlands_angle(rng):
    ends = [track(rng, MUON_MASS, CENTRE - [0, 0, 200], ALONG, 3000.0, 0, length=100.0).direction for _ in range(300)]
    width = np.std(np.array(ends)[:, 0])
    x = 100.0 / argon.RADIATION_LENGTH
    expected = 13.6 / argon.momentum(2890.0, MUON_MASS) * np.sqrt(x) * (1 + 0.038 * np.log(x))
    assert width == pytest.approx(expected, rel=0.2)


def test_a_shower_leaves_its_energy(rng):
    energy = 300.0
    deposits = shower(rng, Quanta.make(ELECTRON, np.array([60.0, 0.0, 100.0]), ALONG, [energy] * 4, 0))
    # Some photons leave the detector.
    assert 0.88 * 4 * energy < deposits.energy.sum() <= 4 * energy * 1.001 + 12
    along = np.average(deposits.points[:, 2], weights=deposits.energy) - 100.0
    assert 2 < along / argon.RADIATION_LENGTH < 6


def test_low_electrons_stop_within_their_range(rng):
    deposits = shower(rng, Quanta.make(ELECTRON, CENTRE + [50, 0, 0], ALONG, [1.0] * 100, 0))
    away = np.linalg.norm(deposits.points - CENTRE - [50, 0, 0], axis=1)
    # NIST ESTAR: the range of 1 MeV in argon is 0.76 g/cm^2.
    assert np.quantile(away, 0.98) < 0.76 / argon.DENSITY * 1.2


def test_photons_convert_at_a_distance(rng):
    photons = Quanta.make(PHOTON, CENTRE - [0, 0, 200], ALONG, [300.0] * 4000, 0)
    made, _ = fly(rng, photons)
    # 9/7 of a radiation length at high energy, somewhat more at 300 MeV; Compton scattering shortens it again.
    mean = np.mean(made.points[:, 2] - 50.0)
    assert mean == pytest.approx(9 / 7 * argon.RADIATION_LENGTH, rel=0.12)


@pytest.mark.parametrize(
    "energy,attenuation", [(0.5, 0.0778), (1.0, 0.0576), (2.0, 0.0406), (10.0, 0.0278), (100.0, 0.0362)]
)
def test_photon_attenuation(energy, attenuation):
    # NIST XCOM, argon, cm^2/g.
    energies, rate, _, _ = argon.photon_table()
    assert np.interp(energy, energies, rate) / argon.DENSITY == pytest.approx(attenuation, rel=0.15)


def test_michel_electrons(rng):
    energy = [hadrons.michel_energy(rng) for _ in range(3000)]
    assert max(energy) <= hadrons.MICHEL_ENDPOINT
    assert np.mean(energy) == pytest.approx(0.7 * hadrons.MICHEL_ENDPOINT, rel=0.02)


def test_stopped_positive_muons_make_a_michel_electron(rng):
    one = hadrons.Followed(rng, 0)
    one.muon(CENTRE, ALONG, 200.0, positive=True)
    last = one.quanta[-1]
    assert len(last) == 1 and last.energy[0] <= hadrons.MICHEL_ENDPOINT
    assert np.linalg.norm(last.points[0] - CENTRE) == pytest.approx(argon.range_table(MUON_MASS).reach(200.0), rel=0.1)


def test_pi0_photons_have_its_mass(rng):
    one = hadrons.Followed(rng, 0)
    one.neutral_pion(CENTRE, ALONG, 250.0)
    photons = Quanta.join(one.quanta)
    momentum = photons.energy[:, None] * photons.directions
    mass = np.sqrt(photons.energy.sum() ** 2 - np.sum(momentum.sum(axis=0) ** 2))
    assert mass == pytest.approx(134.977, rel=1e-6)
    assert photons.energy.sum() == pytest.approx(250.0 + 134.977)


def test_cosmic_zenith_is_cos_squared(rng):
    cosine = -np.array([downward(rng)[1] for _ in range(20000)])
    # Per solid angle cos^2: the density in the cosine is 3 cos^2, its mean 3/4, the mean of its square 3/5.
    assert np.mean(cosine) == pytest.approx(0.75, abs=0.005)
    assert np.mean(cosine**2) == pytest.approx(0.6, abs=0.008)


def test_cosmic_muons_have_a_few_gev(rng):
    energy = [muon_energy(rng, 0.9) for _ in range(2000)]
    assert 1500 < np.median(energy) < 4000


def test_recombination():
    # ICARUS: a minimum-ionising track keeps about 0.7 of its charge at 0.5 kV/cm, a stopping proton far less.
    mip, proton = response.recombined(np.array([2.1, 20.0]), np.array([1.0, 1.0])) / [2.1, 20.0]
    assert mip == pytest.approx(0.70, abs=0.01)
    assert proton < 0.4


def test_neutrino_interactions_conserve_what_they_must(rng):
    interactions = [interact(rng, 0.25) for _ in range(400)]
    assert {abs(i.pdg) for i in interactions} == {12, 14} and {i.current for i in interactions} == {0, 1}
    for one in interactions:
        lepton, momentum = one.outgoing[0]
        assert lepton == (one.pdg - 1 if one.current == CHARGED else one.pdg)
        assert np.sqrt(momentum @ momentum + MASSES[lepton] ** 2) < one.energy
        assert np.all(one.vertex > geometry.LOWER) and np.all(one.vertex < geometry.UPPER)
        assert all(pdg in MASSES for pdg, _ in one.outgoing)


def test_neutral_currents_come_as_often_as_asked(rng):
    for share in (0.0, 0.25, 0.6, 1.0):
        neutral = np.mean([interact(rng, share).current == NEUTRAL for _ in range(400)])
        assert neutral == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 400))


def test_noise_exceedances_are_the_measured_ones(rng):
    """Rates per pixel, and how one exceedance follows another along time, as measured on the sample (docs)."""
    for plane, rate in ((0, 0.0082), (1, 0.0090)):
        tpc = dict(noise.STREAKY)[plane]
        over = np.concatenate([noise.streaky(rng, plane, tpc) for _ in range(4)], axis=1) >= 5.0
        assert over.mean() == pytest.approx(rate, rel=0.08)
        following = [(over[d:] & over[:-d]).mean() / over.mean() for d in (1, 4, 10)]
        assert following == pytest.approx([0.28, 0.11, 0.045], rel=0.25)
        assert (over[:, 1:] & over[:, :-1]).mean() / over.mean() == pytest.approx(over.mean(), rel=0.2)
    for plane, tpc, rate in ((0, 0, 0.00075), (1, 1, 0.00065), (2, 0, 0.00018)):
        numbers, values = noise.quiet_over(rng, plane, tpc, 5.0)
        pixels = geometry.ROWS_PER_TPC * noise.SPAN[plane]
        assert len(numbers) / pixels == pytest.approx(rate, rel=0.25)
        assert values.min() >= 5.0 and len(np.unique(numbers)) == len(numbers)
