"""From charge to pixels where there is no charge."""

import numpy as np
import pytest

from cosmictagger_tf.detector import BACKGROUND, COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.simulation import generate, noise, readout, response
from cosmictagger_tf.simulation.deposits import Deposits


@pytest.mark.parametrize("plane", range(3))
def test_a_plane_without_charge_has_noise_alone(plane):
    rng = np.random.default_rng(512)
    clouds = response.drift(rng, Deposits.none(), np.zeros(0), np.zeros(0, np.int64))
    classes = np.array([BACKGROUND, COSMIC])
    signal = response.signal(clouds, plane, ImageShape(), classes)
    assert len(signal.pixels) == 0 and signal.adc.dtype == np.float64 and signal.energy.shape == (2, 0)
    image, label, source = readout.read_out(rng, signal, plane, ImageShape(), classes)
    assert len(image) == len(label) > 0 and (label.values == BACKGROUND).all() and image.values.min() >= 5
    assert not source.values.any()


def test_a_source_is_the_one_of_the_pixels_class_with_most_energy():
    # Two neutrinos, and a cosmic muon and a shower.
    classes = np.array([BACKGROUND, NEUTRINO, NEUTRINO, COSMIC, COSMIC])
    energy = np.array([[0.2, 0.1, 0.9, 0.0], [0.3, 0.0, 0.0, 0.0], [0.4, 0.2, 0.3, 0.0], [0.0, 0.5, 0.2, 0.0]])
    label = np.array([NEUTRINO, COSMIC, COSMIC, BACKGROUND])
    assert readout.sources(energy, label, classes).tolist() == [2, 4, 3, 0]


def test_an_event_without_a_particle_and_without_noise_is_an_event(tmp_path, monkeypatch):
    monkeypatch.setattr(generate.cosmics, "cosmics", lambda *_: ([], np.zeros(0), np.zeros(0, np.int64)))
    monkeypatch.setattr(noise, "streaky", lambda rng, plane, tpc: np.zeros((640, noise.SPAN[plane]), np.float32))
    monkeypatch.setattr(noise, "quiet_over", lambda *_: (np.zeros(0, np.int64), np.zeros(0)))
    one = generate.simulate_event(512, 0, interactions=0)
    assert [len(plane) for plane in one.event.image] == [0, 0, 0] and len(one.particles) == 0
