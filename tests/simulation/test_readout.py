"""From charge to pixels where there is no charge."""

import numpy as np
import pytest

from cosmictagger_tf.detector import BACKGROUND, ImageShape
from cosmictagger_tf.simulation import generate, noise, readout, response
from cosmictagger_tf.simulation.deposits import Deposits


@pytest.mark.parametrize("plane", range(3))
def test_a_plane_without_charge_has_noise_alone(plane):
    rng = np.random.default_rng(512)
    clouds = response.drift(rng, Deposits.none(), np.zeros(0), np.zeros(0, np.int64))
    signal = response.signal(clouds, plane, ImageShape())
    assert len(signal.pixels) == 0 and signal.adc.dtype == np.float64 and signal.energy.shape == (2, 0)
    image, label = readout.read_out(rng, signal, plane, ImageShape())
    assert len(image) == len(label) > 0 and (label.values == BACKGROUND).all() and image.values.min() >= 5


def test_an_event_without_a_particle_and_without_noise_is_an_event(tmp_path, monkeypatch):
    monkeypatch.setattr(generate.cosmics, "cosmics", lambda rng, first: ([], np.zeros(0)))
    monkeypatch.setattr(noise, "streaky", lambda rng, plane, tpc: np.zeros((640, noise.SPAN[plane]), np.float32))
    monkeypatch.setattr(noise, "quiet_over", lambda *_: (np.zeros(0, np.int64), np.zeros(0)))
    event, particles = generate.simulate_event(512, 0, interactions=0)
    assert [len(plane) for plane in event.image] == [0, 0, 0] and len(particles) == 0
