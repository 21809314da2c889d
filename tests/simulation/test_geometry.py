"""Where things land on the planes."""

import numpy as np
import pytest

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.detector import COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.simulation import geometry, readout, response
from cosmictagger_tf.simulation.deposits import Deposits

SHAPE = ImageShape()


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
    clouds = response.drift(np.random.default_rng(0), deposits, np.array([time]), np.array([NEUTRINO]))
    return [response.signal(clouds, plane, SHAPE) for plane in range(3)]


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


def test_planes_see_the_same_z():
    """Of two induction columns and a collection column, any two give the third, as for real wires."""
    rng = np.random.default_rng(2)
    y, z = rng.uniform(-200, 200, 50), rng.uniform(0, 500, 50)
    one, other, last = ((geometry.columns(y, z, p) - geometry.FIRST_COLUMN[p]) * geometry.PITCH for p in range(3))
    assert np.allclose(one + other - 2 * geometry.HALF_Y * np.sin(geometry.WIRE_ANGLE), last)


def test_a_track_through_the_cathode_is_continuous():
    left, right = (planes(spot(x, 50.0, 250.0)) for x in (-3.0, 3.0))
    for a, b in zip(left, right, strict=True):
        assert peak(a)[1] == pytest.approx(peak(b)[1], abs=2)
        assert peak(a)[0] < 640 <= peak(b)[0] < 660


def test_late_charge_is_shifted_and_cut_by_the_window():
    rows = [peak(planes(spot(-150.0, 0.0, 250.0), late)[2])[0] for late in (0.0, 200.0)]
    assert rows[1] - rows[0] == pytest.approx(200, abs=1)
    assert all(len(signal.pixels) == 0 for signal in planes(spot(-150.0, 0.0, 250.0), 600.0))


def test_the_active_volume_fills_the_measured_columns():
    corners = [(y, z) for y in (-199.99, 199.99) for z in (0.01, 499.99)]
    for plane in range(3):
        columns = [float(geometry.columns(np.array(y), np.array(z), plane)) for y, z in corners]
        assert int(min(columns)) == geometry.FIRST_COLUMN[plane]
        assert int(max(columns)) == pytest.approx(geometry.LAST_COLUMN[plane], abs=2)


def test_lines_cross_the_volume():
    enter, leave = geometry.crossing(np.array([0.0, 300.0, 250.0]), np.array([0.0, -1.0, 0.0]))
    assert (enter, leave) == (100.0, 500.0)
    enter, leave = geometry.crossing(np.array([300.0, 0.0, 250.0]), np.array([0.0, -1.0, 0.0]))
    assert enter > leave


def test_diffusion_widens_far_deposits():
    near, far = (planes(spot(x, 0.0, 250.0))[2] for x in (-195.0, -5.0))
    assert len(np.unique(far.pixels % SHAPE.width)) > len(np.unique(near.pixels % SHAPE.width))
    assert far.adc.max() < near.adc.max()


def test_label_is_the_class_with_the_most_energy():
    energy = np.array([[0.5, 0.1, 0.0, 0.01], [0.1, 0.5, 0.06, 0.02]])
    assert readout.labels(energy).tolist() == [COSMIC, NEUTRINO, NEUTRINO, 0]


def test_read_out_keeps_the_threshold():
    signal = planes(spot(-100.0, 0.0, 250.0))[2]
    image, label = readout.read_out(np.random.default_rng(1), signal, 2, SHAPE)
    assert isinstance(image, PlanePixels) and image.values.min() >= 5.0
    assert np.array_equal(image.rows, label.rows) and np.array_equal(image.columns, label.columns)
    assert (label.values == NEUTRINO).any() and (label.values == 0).any()


def test_real_vertices_land_on_their_neutrinos(sample_file):
    """The real files' vertices, through this geometry, are next to pixels that the real labels call neutrino."""
    h5py = pytest.importorskip("h5py")
    from cosmictagger_tf.data.larcv_h5 import LarcvFile

    with h5py.File(sample_file) as file:
        group = file["/Data/particle_sbndneutrino_group"]
        vertices = [group["particles"][first]["vtx"] for first, _ in group["extents"][:]]
    real = LarcvFile(sample_file, "sbndwire", "sbnd_cosmicseg")
    per_us = geometry.DRIFT_VELOCITY / geometry.CM_PER_ROW
    for entry, vertex in enumerate(vertices):
        drift = geometry.drift_rows(vertex["x"]) + vertex["t"] / 1000 * per_us
        row = geometry.rows(np.minimum(drift, geometry.ROWS_PER_TPC), np.array(vertex["x"] > 0))
        for plane, label in enumerate(real.read(entry).label):
            column = geometry.columns(vertex["y"], vertex["z"], plane)
            lit = label.values == NEUTRINO
            # Half a centimetre; one of the three starts at the cathode, where nothing is seen for 2 cm.
            assert np.hypot(label.rows[lit] - row, label.columns[lit] - column).min() < (8, 2, 2)[entry]
    real.close()
