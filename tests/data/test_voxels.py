"""The quick way to the voxels and the one through NumPy: the same events and the same refusals."""

import numpy as np
import pytest

from cosmictagger_tf.data import loops, voxels
from cosmictagger_tf.data.inflate import inflater
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import DataError
from tests.data.bad_files import FAULTS
from tests.data.odd_files import ODDITIES
from tests.data.sound_files import sound_file, sound_planes
from tests.data.test_readers import assert_same_event

SHAPE = ImageShape(3, 64, 96)


@pytest.fixture
def numpy_alone(monkeypatch):
    """From the call of what this gives on, NumPy checks and splits the voxels, and pairs the coordinates."""

    def switch():
        monkeypatch.setattr(voxels, "LOOPS", None)
        monkeypatch.setattr(loops, "LOOPS", None)

    return switch


@pytest.fixture
def long_file(tmp_path):
    """Entries of many sizes, which begin and end anywhere in the chunks of 1,000 rows or span several."""
    rng = np.random.default_rng(1)
    with LarcvWriter(tmp_path / "long.h5", SHAPE) as writer:
        for entry, pixels in enumerate((1500, 1, 332, 0, 1, 333, 1000, 3000, 17)):
            image, label = sound_planes(rng, SHAPE, pixels)
            writer.write((1, 1, entry), {"sbndwire": image, "sbnd_cosmicseg": label})
    return tmp_path / "long.h5"


def read_or_refusal(path) -> list:
    """Each entry's event, or the refusal; or the refusal of the file."""
    results = []
    try:
        file = LarcvFile(str(path), "sbndwire", "sbnd_cosmicseg")
    except DataError as error:
        return [str(error)]
    for entry in range(len(file)):
        try:
            results.append(file.read(entry))
        except DataError as error:
            results.append(str(error))
    file.close()
    return results


def assert_same(results, expected):
    assert len(results) == len(expected)
    for a, b in zip(results, expected, strict=True):
        if isinstance(a, str) or isinstance(b, str) or a.label is None:
            assert a == b
        else:
            assert_same_event(a, b)


@pytest.mark.parametrize("which", ["long", "sample"])
def test_both_ways_give_the_same_events(which, request, numpy_alone):
    path = request.getfixturevalue(f"{which}_file")
    quick = read_or_refusal(path)
    numpy_alone()
    assert_same(quick, read_or_refusal(path))


@pytest.mark.parametrize("kind", {**FAULTS, **ODDITIES})
def test_both_ways_say_the_same_of_an_unusual_file(tmp_path, kind, numpy_alone):
    path = sound_file(tmp_path / "file.h5")
    change = FAULTS[kind][0] if kind in FAULTS else ODDITIES[kind]
    change(path)
    quick = read_or_refusal(path)
    numpy_alone()
    assert_same(quick, read_or_refusal(path))


def test_the_quick_way_is_taken(long_file):
    if not loops.LOOPS or not inflater():
        pytest.skip("loops.c was not compiled, or libdeflate is not installed")
    file = LarcvFile(str(long_file), "sbndwire", "sbnd_cosmicseg")
    for entry in (0, 1, 2, 4, 5, 6, 7, 8):
        image, label = file.image.ranges(entry, SHAPE), file.label.ranges(entry, SHAPE)
        image_voxels = voxels.read_quickly(file.image.voxels, image, SHAPE, None)
        assert image_voxels is not None
        assert voxels.read_quickly(file.label.voxels, label, SHAPE, image_voxels).ids is image_voxels.ids
    # Other ids than the image's are no fault, and an image that they do not fit is one.
    other = voxels.read_quickly(file.image.voxels, file.image.ranges(6, SHAPE), SHAPE, None)
    own = voxels.read_quickly(file.image.voxels, file.image.ranges(7, SHAPE), SHAPE, other)
    assert own is not None and own.ids is not other.ids
    small = ImageShape(3, 32, 64)
    assert voxels.read_quickly(file.image.voxels, file.image.ranges(7, SHAPE), small, None) is None


@pytest.mark.parametrize("kept", [slice(None), slice(None, None, 2)])
@pytest.mark.parametrize("length", [50, 64])
def test_pairs_of_coordinates(kept, length):
    rows, columns = np.arange(100, dtype=np.int32).reshape(2, 50)[:, kept]
    out = np.full((length, 2), 7, np.int32)
    loops.pair_coordinates(rows, columns, -1, out)
    assert np.array_equal(out[: len(rows)], np.stack([rows, columns], axis=-1))
    assert (out[len(rows) :] == -1).all()
