"""Vertices in the images: from boxes, from clusters, projected, and written as boxes."""

import h5py
import numpy as np
import pytest

from cosmictagger_tf.data.larcv_format import BBOX_DTYPE
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.tables import Hdf5File
from cosmictagger_tf.data.vertices import VertexProduct, boxes_at, projected
from cosmictagger_tf.detector import ImageShape
from tests.data.bad_truth import value
from tests.data.sound_files import SHAPE
from tests.data.truth_files import BOXES, CLUSTERS, CM, VERTICES, add_clusters, truth_file


@pytest.fixture
def file(tmp_path):
    return add_clusters(truth_file(tmp_path / "file.h5"))


def vertices(path, group, entry, shape=SHAPE):
    file = Hdf5File(str(path))
    product = VertexProduct(file, group.removeprefix("/Data/").removesuffix("_group"), 3, shape)
    try:
        return product.read(entry)
    finally:
        file.close()


def test_boxes_give_back_the_places_that_they_were_made_of(file):
    first, second, third = (vertices(file, BOXES, entry) for entry in range(3))
    np.testing.assert_allclose(first, VERTICES[0])
    np.testing.assert_allclose(second[:, :2], VERTICES[1][:, :2])
    assert np.isnan(second[:, 2]).all() and second.dtype == np.float64
    assert third.shape == (0, 3, 2)


def test_clusters_give_the_pixel_in_their_middle(file):
    first, second, third = (vertices(file, CLUSTERS, entry) for entry in range(3))
    np.testing.assert_array_equal(np.floor(first), np.floor(VERTICES[0]))
    # Also where an edge cuts off a third of it; of the last plane's, outside, only the outer third is within.
    np.testing.assert_array_equal(second[0, :2], VERTICES[1][0, :2])
    assert np.isnan(second[0, 2]).all() and third.shape == (0, 3, 2)


@pytest.mark.parametrize(
    ("rows", "columns", "middle"),
    [
        ((0, 1), (5, 6, 7), (0.5, 6.5)),
        ((0,), (5, 6, 7), None),
        ((30, 31), (63,), None),
        ((29, 30, 31), (62, 63), (30.5, 63.5)),
        # Of other clusters than 3 x 3 it is the mean.
        ((7,), (0,), (7.5, 0.5)),
        ((0, 1), (5, 6, 7, 8), (1.0, 7.0)),
    ],
)
def test_the_middle_of_a_cluster_at_an_edge(file, rows, columns, middle):
    ids = [column * SHAPE.height + row for column in columns for row in rows]
    with h5py.File(file, "a") as opened:
        value("voxels", "id", slice(len(ids)), ids)(opened[CLUSTERS])
        value("cluster_extents", "N", 0, len(ids))(opened[CLUSTERS])
    place = vertices(file, CLUSTERS, 0)[0, 0]
    assert np.isnan(place).all() if middle is None else place.tolist() == list(middle)


def test_several_interactions_keep_their_order(tmp_path):
    many = [np.concatenate([VERTICES[0] + shift for shift in (0.0, 5.0, 2.0)])] * 3
    path = truth_file(tmp_path / "many.h5", vertices=many)
    np.testing.assert_allclose(vertices(path, BOXES, 1)[:, 0, 0], [3.5, 8.5, 5.5])


def test_planes_are_told_by_their_ids(file):
    with h5py.File(file, "a") as opened:
        for table, column in (("bbox_extents", "ID"), ("image_meta", "projection_id")):
            value(table, column, slice(3), (2, 0, 1))(opened[BOXES])
    np.testing.assert_allclose(vertices(file, BOXES, 0)[0, [2, 0, 1]], VERTICES[0][0])


def test_boxes_are_one_pixel_in_the_units_of_image_meta():
    boxes = boxes_at(np.array([[3.5, 4.25], [np.nan, np.nan]]), SHAPE, CM[0])
    assert boxes.dtype == BBOX_DTYPE and len(boxes) == 1
    np.testing.assert_allclose(boxes["centroid"][0], (-9.6 + 4.25 * 0.3, -18.1 + 3.5 * 0.3125))
    np.testing.assert_allclose(boxes["half_length"][0], (0.15, 0.15625))
    np.testing.assert_allclose(boxes_at(np.array([[3.5, 4.25]]), SHAPE)["centroid"], [(4.25, 3.5)])


def test_projections_need_sbnds_images_and_a_vertex_in_the_detector():
    neutrinos = [Neutrino(1.0, 14, 0, vertex=(x, 20.0, 30.0, 5.0)) for x in (-100.0, 230.0)]
    places = projected(neutrinos, ImageShape())
    assert places.shape == (2, 3, 2) and np.isnan(places[1]).all()
    # The rows of 100 cm of drift, and of 5 us: 0.16 cm/us, 0.3125 cm a row.
    assert places[0, :, 0] == pytest.approx(320 + 2.56)
    assert projected((), ImageShape()).shape == projected((), SHAPE).shape == (0, 3, 2)
    assert projected(neutrinos, SHAPE) is None
    assert projected([Neutrino(1.0, 14, 0)], ImageShape()) is None


def test_which_of_several_belong_together_must_be_told(file):
    with h5py.File(file, "a") as opened:
        planes = opened[f"{CLUSTERS}/projection_extents"][:]
        planes["N"][1] = 2
        opened[f"{CLUSTERS}/projection_extents"][:] = planes
    assert vertices(file, CLUSTERS, 0) is None and vertices(file, CLUSTERS, 1) is not None


def test_a_cluster_without_pixels_keeps_its_place_among_several(file):
    """Of two interactions plane 0 sees the second alone, and plane 1 the first."""
    with h5py.File(file, "a") as opened:
        planes, clusters = (opened[f"{CLUSTERS}/{name}"] for name in ("projection_extents", "cluster_extents"))
        rows, added = planes[:], np.repeat(clusters[:1], 6)
        rows["first"][:3], rows["N"][:3] = len(clusters) + 2 * np.arange(3), 2
        planes[:] = rows
        added["N"][[0, 3]] = 0
        clusters.resize((len(clusters) + 6,))
        clusters[-6:] = added
    missing = np.isnan(vertices(file, CLUSTERS, 0)).any(axis=-1)
    assert missing.tolist() == [[True, False, False], [False, True, False]]


def test_a_single_vertex_may_be_on_some_planes_alone(file):
    with h5py.File(file, "a") as opened:
        planes = opened[f"{BOXES}/bbox_extents"][:]
        planes["N"][1] = 0
        opened[f"{BOXES}/bbox_extents"][:] = planes
    assert np.isnan(vertices(file, BOXES, 0)[0]).any(axis=-1).tolist() == [False, True, False]


def test_an_entry_may_be_written_without_planes(file):
    with h5py.File(file, "a") as opened:
        extents = opened[f"{BOXES}/extents"][:]
        extents["N"][1] = 0
        opened[f"{BOXES}/extents"][:] = extents
    assert vertices(file, BOXES, 1).shape == (0, 3, 2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("group", [BOXES, CLUSTERS])
def test_where_there_is_nothing_image_meta_may_be_as_it_was_made(file, group):
    """Of no size, and of no plane: as of an entry whose vertices were never set."""
    with h5py.File(file, "a") as opened:
        rows = opened[f"{group}/image_meta"][:]
        rows[-3:] = np.zeros((), rows.dtype)
        opened[f"{group}/image_meta"][:] = rows
    assert vertices(file, group, 2).shape == (0, 3, 2)


@pytest.mark.filterwarnings("error")
def test_a_box_too_far_away_for_a_number_is_outside(file):
    with h5py.File(file, "a") as opened:
        value("bboxes", "centroid", 0, np.finfo(float).max)(opened[BOXES])
    assert np.isnan(vertices(file, BOXES, 0)[0]).any(axis=-1).tolist() == [True, False, False]
