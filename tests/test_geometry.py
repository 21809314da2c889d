"""Where a point of the detector lies in the images."""

import numpy as np
import pytest

from cosmictagger_tf import geometry
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.detector import NEUTRINO, ImageShape


def test_planes_see_the_same_z():
    """Of two induction columns and a collection column, any two give the third, as for real wires."""
    rng = np.random.default_rng(2)
    y, z = rng.uniform(-200, 200, 50), rng.uniform(0, 500, 50)
    one, other, last = ((geometry.columns(y, z, p) - geometry.FIRST_COLUMN[p]) * geometry.PITCH for p in range(3))
    assert np.allclose(one + other - 2 * geometry.HALF_Y * np.sin(geometry.WIRE_ANGLE), last)


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


@pytest.mark.parametrize("x,time,row", [(-100.0, 0.0, 320.0), (100.0, 0.0, 960.0), (-100.0, 5.0, 322.56)])
def test_a_point_is_projected_at_its_apparent_drift_time(x, time, row):
    places = geometry.project(np.array([x, 20.0, 150.0]), time)
    assert places.shape == (3, 2) and places[:, 0] == pytest.approx(row)
    expected = [float(geometry.columns(np.array(20.0), np.array(150.0), plane)) for plane in range(3)]
    assert places[:, 1] == pytest.approx(expected)


def test_what_would_lie_beyond_the_cathode_or_the_last_wire_is_put_on_it():
    for x, row in ((-0.1, 639), (0.1, 640)):
        places = geometry.project(np.array([x, -199.99, 499.99]), 9.0).astype(np.float32)
        assert (np.floor(places[:, 0]) == row).all()
        assert np.floor(places[[0, 2], 1]).tolist() == [2016, 1856]


@pytest.mark.parametrize("x,row", [(-199.9, 0), (199.9, 1279)])
def test_what_would_lie_before_an_anode_is_put_on_the_images_first_or_last_row(x, row):
    places = geometry.project(np.array([x, 0.0, 250.0]), -5.0).astype(np.float32)
    assert (np.floor(places[:, 0]) == row).all()


def test_an_apparent_point_is_seen_where_the_late_one_is():
    rng = np.random.default_rng(5)
    points, times = rng.uniform(geometry.LOWER, geometry.UPPER, size=(50, 3)), rng.uniform(0, 9, 50)
    # Two that seem to lie at the cathode, from either side.
    points[:2, 0], times[:2] = (-0.1, 0.1), 9.0
    apparent = geometry.apparent(points, times)
    assert (np.abs(apparent[:2, 0]) == 0).all() and (np.abs(apparent[:, 0]) <= np.abs(points[:, 0])).all()
    late = [geometry.project(point, time) for point, time in zip(points, times, strict=True)]
    at_once = [geometry.project(point, 0.0) for point in apparent]
    np.testing.assert_allclose(late[2:], at_once[2:])


def test_a_mean_time_is_taken_off_again_as_far_as_the_anodes():
    points = np.array([[-120.0, 1.0, 2.0], [120.0, 1.0, 2.0], [199.9, 1.0, 2.0]])
    np.testing.assert_allclose(geometry.apparent(geometry.apparent(points, 5.0), -5.0), points)
    assert geometry.apparent(points, -5.0)[:, 0].tolist() == [-120.8, 120.8, 200.0]


def test_of_other_images_the_geometry_is_unknown_for_one_reason():
    assert geometry.unknown(ImageShape()) is None
    reason = geometry.unknown(ImageShape(height=1408))
    assert reason == (
        "where 3 planes of 1408 rows x 2048 columns lie in the detector is not known, "
        "as it is of SBND's 3 planes of 1280 rows x 2048 columns"
    )


def test_real_vertices_land_on_their_neutrinos(sample_file):
    """The real files' vertices, through this geometry, are next to pixels that the real labels call neutrino."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(sample_file) as file:
        group = file["/Data/particle_sbndneutrino_group"]
        vertices = [group["particles"][first]["vtx"] for first, _ in group["extents"][:]]
    real = LarcvFile(sample_file, "sbndwire", "sbnd_cosmicseg")
    for entry, vertex in enumerate(vertices):
        places = geometry.project(np.array([vertex[axis] for axis in "xyz"]), vertex["t"] / 1000)
        for (row, column), label in zip(places, real.read(entry).label, strict=True):
            lit = label.values == NEUTRINO
            # Half a centimetre; one of the three starts at the cathode, where nothing is seen for 2 cm.
            assert np.hypot(label.rows[lit] - row, label.columns[lit] - column).min() < (8, 2, 2)[entry]
    real.close()
