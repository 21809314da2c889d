"""Charges in units of a readout's typical one: whatever the gain, a network sees the same."""

import numpy as np
import pytest

from cosmictagger_tf.config import with_changes
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.charge import NOMINAL, in_typical_charge
from cosmictagger_tf.networks.sparse import host_rulebook
from tests.networks.sparse.examples import SHAPE, SMALL, dense_images, random_batch, randomise, rulebook

RNG = np.random.default_rng(7)


def readout(tracks=3000, noise=3000):
    """Noise at its threshold, tracks as a Landau-like spread, and one large deposit; [1, 3, pixels]."""
    values = np.concatenate([RNG.uniform(5, 8, noise), RNG.gamma(6, 8, tracks), RNG.uniform(300, 2000, 30)])
    return values[: len(values) // 3 * 3].reshape(1, 3, -1).astype(np.float32)


@pytest.mark.parametrize("gain", [1e-3, 0.5, 1.4, 2, 6000])
def test_the_gain_changes_nothing(gain):
    values = readout()
    np.testing.assert_allclose(in_typical_charge(gain * values), in_typical_charge(values), rtol=1e-5)


def test_noise_and_large_deposits_change_little():
    """Ten times the noise, which a mean of all pixels would follow: the tracks stay within 2 %."""
    scales = [in_typical_charge(values, np)[0, 2, 0] / values[0, 2, 0] for values in (readout(), readout(noise=300))]
    assert scales[0] == pytest.approx(scales[1], rel=0.02)
    tracks = readout(noise=0)
    assert tracks.mean() * NOMINAL / 48 > in_typical_charge(tracks, np).mean() > NOMINAL


def test_each_readout_has_its_own_and_an_empty_one_stays_empty():
    values = readout()
    batch = np.concatenate([values, np.zeros_like(values), 3 * values])
    scaled = in_typical_charge(batch, np)
    np.testing.assert_allclose(scaled[2], scaled[0], rtol=1e-6)
    assert not scaled[1].any() and scaled.dtype == np.float32
    np.testing.assert_allclose(in_typical_charge(batch), scaled, rtol=1e-6)
    one = np.zeros((1, 3, 5), np.float32)
    one[0, 1, 2] = -8
    assert in_typical_charge(one, np)[0, 1, 2] == -NOMINAL


@pytest.mark.parametrize(
    "form", [{"conv_mode": "sparse"}, {"conv_mode": "3D", "submanifold": True}, {"conv_mode": "2D"}], ids=str
)
def test_a_network_sees_no_gain(form):
    options = {} if form["conv_mode"] == "2D" else {"descend_charge": 30.0}
    config = with_changes(SMALL, normalise_charge=True, **form, **options)
    network = build_network(config, SHAPE)
    randomise(network, 1)
    results = []
    for gain in (1.0, 1.7):
        batch = random_batch(5)
        batch["image_values"] = batch["image_values"] * np.float32(gain)
        if config.conv_mode == "sparse":
            book = rulebook(batch, config)
            results.append(network({name: book[name] for name in network.input}))
        else:
            results.append(network(dense_images(batch)))
    np.testing.assert_allclose(results[0], results[1], atol=1e-4)


def test_both_rulebooks_have_the_same_charges():
    config, batch = with_changes(SMALL, normalise_charge=True, descend_charge=30.0), random_batch(5)
    book = host_rulebook.build_rulebook(batch["image_coordinates"], batch["image_values"], config, SHAPE)
    other = rulebook(batch, config)
    np.testing.assert_allclose(book["values"], other["values"], rtol=1e-5)
    np.testing.assert_array_equal(book["parents_0"], other["parents_0"])
    assert not np.allclose(book["values"], rulebook(batch, with_changes(config, normalise_charge=False))["values"])
