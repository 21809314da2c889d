"""Class and vertices of the events in a batch."""

from dataclasses import replace

import numpy as np

from cosmictagger_tf.data.batch import FEWEST_VERTICES, make_batch
from cosmictagger_tf.data.dataset import SyntheticReader
from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.data.truth import Truth
from cosmictagger_tf.detector import EVENT_CLASS_NAMES, PADDING_COORDINATE, ImageShape

SHAPE = ImageShape(3, 64, 32)
NUMU, COSMIC_ONLY, UNKNOWN = EVENT_CLASS_NAMES.index("numu_cc"), EVENT_CLASS_NAMES.index("cosmic_only"), -1
MUON = (Neutrino(1.0, 14, 0),)
VERTEX = np.array([[[3.5, 4.5], [60.0, 31.5], [np.nan, np.nan]]])


def event_with(truth, neutrino_pixels=300):
    """Labels on pixels of their own, so many of them neutrino's on the first plane."""
    event = SyntheticReader(6, SHAPE).read(0)
    rows, columns = (axis.astype(np.int32) for axis in np.divmod(np.arange(neutrino_pixels), SHAPE.width))
    label = PlanePixels(rows, columns, np.full(neutrino_pixels, 2.0, np.float32))
    return replace(event, label=(label, PlanePixels.empty(), PlanePixels.empty()), truth=truth)


def arrays(*events, size=None):
    batch = make_batch(list(events), size or len(events), SHAPE, truth=True)
    return batch["event_classes"].tolist(), batch["vertices"], batch["vertices_known"].tolist()


def test_class_and_vertex_of_a_readout():
    classes, vertices, known = arrays(event_with(Truth(MUON, VERTEX)))
    assert (classes, known) == ([NUMU], [1.0])
    assert vertices.shape == (1, FEWEST_VERTICES, 3, 2) and vertices.dtype == np.float32
    assert vertices[0, 0].tolist() == [[3.5, 4.5], [60.0, 31.5], [PADDING_COORDINATE] * 2]
    assert (vertices[0, 1:] == PADDING_COORDINATE).all()


def test_a_readout_of_cosmic_rays_only_is_known_to_have_no_vertex():
    few = (event_with(truth, 9) for truth in (Truth(MUON, VERTEX), Truth(), None))
    classes, vertices, known = arrays(*few)
    assert (classes, known) == ([COSMIC_ONLY] * 3, [1.0] * 3) and (vertices == PADDING_COORDINATE).all()


def test_what_is_not_told_is_unknown_and_so_is_a_filler():
    several = Truth(MUON * 2, np.concatenate([VERTEX, VERTEX + 1]))
    classes, vertices, known = arrays(event_with(Truth()), event_with(Truth(MUON)), event_with(several), size=4)
    assert (classes, known) == ([UNKNOWN, NUMU, UNKNOWN, UNKNOWN], [0.0, 0.0, 1.0, 0.0])
    assert (vertices[2, :2, 0] == [[3.5, 4.5], [4.5, 5.5]]).all()
    unlabelled = replace(event_with(Truth(MUON, VERTEX)), label=None)
    assert arrays(unlabelled)[0] == [UNKNOWN]


def test_neutrino_pixels_of_no_neutrino_do_not_tell_that_there_is_no_vertex():
    nowhere = np.zeros((0, 3, 2))
    classes, _, known = arrays(event_with(Truth((), nowhere)), event_with(Truth(None, nowhere)))
    assert (classes, known) == ([UNKNOWN] * 2, [0.0] * 2)
    # A neutrino outside of the images has none in them.
    assert arrays(event_with(Truth(MUON, np.full((1, 3, 2), np.nan))))[2] == [1.0]


def test_a_vertex_at_the_end_of_an_image_is_within_it():
    edge = np.nextafter(np.full((1, 3, 2), (SHAPE.height, SHAPE.width), float), 0)
    vertices = arrays(event_with(Truth(MUON, edge)))[1]
    assert (vertices[0, 0] < (SHAPE.height, SHAPE.width)).all() and (vertices[0, 0] > (63.9, 31.9)).all()


def test_more_vertices_than_there_mostly_are():
    many = Truth(MUON * 9, np.repeat(VERTEX, 9, axis=0))
    assert arrays(event_with(many))[1].shape == (1, 16, 3, 2)


def test_the_class_is_that_of_the_resolution():
    # 12 neutrino pixels in a row are 6 blocks of two by two: too few.
    event = downsample_event(event_with(Truth(MUON, VERTEX), 12), 1)
    assert arrays(event_with(Truth(MUON, VERTEX), 12))[0] == [NUMU] and arrays(event)[0] == [COSMIC_ONLY]


def test_a_vertex_is_in_the_block_that_its_pixel_is_in():
    vertices = arrays(downsample_event(event_with(Truth(MUON, VERTEX)), 2))[1]
    assert vertices[0, 0, :2].tolist() == [[0.875, 1.125], [15.0, 7.875]]


def test_without_truth_a_batch_has_none_of_it():
    assert "event_classes" not in make_batch([event_with(Truth(MUON, VERTEX))], 1, SHAPE)
