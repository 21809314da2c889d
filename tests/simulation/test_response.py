"""What particles leave on the planes: where, and with which label."""

import numpy as np
import pytest

from cosmictagger_tf import geometry
from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.detector import BACKGROUND, COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.simulation import readout, response
from cosmictagger_tf.simulation.deposits import Deposits

SHAPE = ImageShape()
# One source, a neutrino.
CLASSES = np.array([BACKGROUND, NEUTRINO])


def spot(x, y, z, energy=3.0):
    """One deposit, shared by a few equal ones so that its charge escapes recombination."""
    n = 20
    return Deposits(
        np.tile([float(x), y, z], (n, 1)),
        np.full((n, 3), 0.05),
        np.full(n, energy / n),
        np.zeros(n, int),
        np.ones(n, bool),
    )


def planes(deposits, time=0.0):
    clouds = response.drift(np.random.default_rng(0), deposits, np.array([time]), np.array([1]))
    return [response.signal(clouds, plane, SHAPE, CLASSES) for plane in range(3)]


def peak(signal):
    return divmod(int(signal.pixels[np.argmax(signal.adc)]), SHAPE.width)


@pytest.mark.parametrize("x", [-180.0, -90.0, 60.0, 150.0])
def test_a_deposit_is_at_the_same_time_on_all_planes(x):
    peaks = [peak(signal) for signal in planes(spot(x, 30.0, 200.0))]
    expected = geometry.rows(geometry.drift_rows(np.array(x)), np.array(x > 0))
    for plane, (row, column) in enumerate(peaks):
        assert row == pytest.approx(float(expected), abs=1.5)
        at = geometry.columns(np.array(30.0), np.array(200.0), plane)
        assert column == pytest.approx(float(at), abs=1.5)


def test_time_is_mirrored_at_the_cathode():
    for late in (0.0, 100.0):
        left, right = (peak(planes(spot(x, 0.0, 250.0), late)[2])[0] for x in (-120.0, 120.0))
        assert left + right == pytest.approx(SHAPE.height - 1, abs=2)


def test_a_track_through_the_cathode_is_continuous():
    left, right = (planes(spot(x, 50.0, 250.0)) for x in (-3.0, 3.0))
    for a, b in zip(left, right, strict=True):
        assert peak(a)[1] == pytest.approx(peak(b)[1], abs=2)
        assert peak(a)[0] < 640 <= peak(b)[0] < 660


def test_late_charge_is_shifted_and_cut_by_the_window():
    rows = [peak(planes(spot(-150.0, 0.0, 250.0), late)[2])[0] for late in (0.0, 200.0)]
    assert rows[1] - rows[0] == pytest.approx(200, abs=1)
    assert all(len(signal.pixels) == 0 for signal in planes(spot(-150.0, 0.0, 250.0), 600.0))


def test_diffusion_widens_far_deposits():
    near, far = (planes(spot(x, 0.0, 250.0))[2] for x in (-195.0, -5.0))
    assert len(np.unique(far.pixels % SHAPE.width)) > len(np.unique(near.pixels % SHAPE.width))
    assert far.adc.max() < near.adc.max()


def test_label_is_the_class_with_the_most_energy():
    energy = np.array([[0.5, 0.1, 0.0, 0.01], [0.1, 0.5, 0.06, 0.02]])
    assert readout.labels(energy).tolist() == [COSMIC, NEUTRINO, NEUTRINO, 0]


def test_read_out_keeps_the_threshold():
    signal = planes(spot(-100.0, 0.0, 250.0))[2]
    image, label, source = readout.read_out(np.random.default_rng(1), signal, 2, SHAPE, CLASSES)
    assert isinstance(image, PlanePixels) and image.values.min() >= 5.0
    assert np.array_equal(image.rows, label.rows) and np.array_equal(image.columns, label.columns)
    assert (label.values == NEUTRINO).any() and (label.values == 0).any()
    assert ((label.values == NEUTRINO) == (source.values == 1)).all() and source.rows is image.rows
