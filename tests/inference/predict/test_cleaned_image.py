"""The cleaned image: which pixels stay, at full and at lower resolution, and what the fringe is."""

import numpy as np

from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.detector import BACKGROUND, COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.inference.predict.cleaned_image import FRINGE_COLUMNS, FRINGE_ROWS, cleaned

SHAPE = ImageShape(1, 64, 32)


def plane(called):
    """A plane with pixels at the given (row, column) -> class, and the classes."""
    rows, columns = np.array([*called], np.int32).reshape(-1, 2).T
    return PlanePixels(rows, columns, np.arange(1, len(rows) + 1, dtype=np.float32)), np.array(
        [*called.values()], np.int8
    )


def kept(called, with_fringe):
    image = cleaned(*plane(called), 0, SHAPE, with_fringe)
    return {
        (int(row), int(column)): value
        for row, column, value in zip(image.rows, image.columns, image.values, strict=True)
    }


def test_pixels_called_neutrino_stay_with_their_charge():
    called = {(5, 3): NEUTRINO, (5, 4): COSMIC, (6, 3): BACKGROUND, (40, 20): NEUTRINO}
    assert kept(called, False) == {(5, 3): 1.0, (40, 20): 4.0}


def test_the_fringe_is_background_near_the_neutrino_and_not_near_a_cosmic():
    near, far = (10 + FRINGE_ROWS, 10 + FRINGE_COLUMNS), (10 + FRINGE_ROWS + 1, 10)
    called = {(10, 10): NEUTRINO, near: BACKGROUND, far: BACKGROUND, (10, 10 - FRINGE_COLUMNS - 1): BACKGROUND}
    assert kept(called, True) == {(10, 10): 1.0, near: 2.0}
    # At the image's edges nothing is near to the other end.
    assert kept({(0, 0): NEUTRINO, (63, 31): BACKGROUND, (1, 31): BACKGROUND}, True) == {(0, 0): 1.0}
    cosmic = (near[0] + FRINGE_ROWS, near[1])
    assert kept(called | {cosmic: COSMIC}, True) == {(10, 10): 1.0}


def test_a_block_keeps_all_of_its_pixels():
    image, _ = plane({(row, column): BACKGROUND for row in range(8, 16) for column in range(8)})
    blocks = downsample_event(Event(0, (0, 0, 0), (image,), None, SHAPE), 2).image[0]
    called = np.where((blocks.rows == 3) & (blocks.columns == 1), NEUTRINO, BACKGROUND).astype(np.int8)
    left = cleaned(image, called, 2, SHAPE, False)
    assert sorted(zip(left.rows, left.columns, strict=True)) == [(r, c) for r in range(12, 16) for c in range(4, 8)]


def test_empty_planes_stay_empty():
    for with_fringe in (False, True):
        assert len(cleaned(PlanePixels.empty(), np.zeros(0, np.int8), 0, SHAPE, with_fringe)) == 0
        assert kept({(3, 3): BACKGROUND, (4, 4): COSMIC}, with_fringe) == {}
