"""Whatever is written is read back; whatever is read, downsampled and batched is the dense image."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.data.transforms import at_stored_pixels, downsample_event
from cosmictagger_tf.detector import PADDING_COORDINATE, ImageShape

# Sizes that can be halved four times.
_SIZES = st.integers(1, 6).map(lambda n: 16 * n)
SHAPES = st.builds(ImageShape, st.integers(1, 4), _SIZES, _SIZES)
FLOATS = st.floats(-1e6, 1e6, width=32)


@st.composite
def planes(draw, shape, values):
    """One PlanePixels a plane, in any order, from none to many pixels."""
    pixels = []
    for _ in range(shape.planes):
        ids = np.array(draw(st.lists(st.integers(0, shape.pixels - 1), unique=True, max_size=60)), np.int64)
        columns, rows = (axis.astype(np.int32) for axis in np.divmod(ids, shape.height))
        pixels.append(PlanePixels(rows, columns, draw(hnp.arrays(np.float32, len(ids), elements=values))))
    return tuple(pixels)


@st.composite
def events(draw):
    """A shape and a few events of it, whose labels lie on their own pixels."""
    shape = draw(SHAPES)
    drawn = []
    for entry in range(draw(st.integers(1, 4))):
        image, label = draw(planes(shape, FLOATS)), draw(planes(shape, st.sampled_from([0.0, 1.0, 2.0])))
        event_id = tuple(draw(st.lists(st.integers(0, 2**40), min_size=3, max_size=3)))
        drawn.append(Event(entry, event_id, image, label, shape))
    return shape, drawn


def dense(pixels, shape):
    return np.stack([plane.dense(shape.height, shape.width) for plane in pixels])


@settings(max_examples=40, deadline=None)
@given(events())
def test_what_is_written_is_read(tmp_path_factory, drawn):
    shape, written = drawn
    path = tmp_path_factory.mktemp("round") / "trip.h5"
    with LarcvWriter(path, shape) as writer:
        for event in written:
            writer.write(event.event_id, {"sbndwire": event.image, "sbnd_cosmicseg": event.label})
    file = LarcvFile(str(path), "sbndwire", "sbnd_cosmicseg")
    assert len(file) == len(written) and file.shape == shape
    for entry, event in enumerate(written):
        read = file.read(entry)
        assert read.event_id == event.event_id
        for a, b in ((read.image, event.image), (read.label, event.label)):
            assert [len(p) for p in a] == [len(p) for p in b]
            np.testing.assert_array_equal(dense(a, shape), dense(b, shape))
    file.close()


def test_a_single_pixel_of_the_label_is_not_that_of_the_image(tmp_path):
    shape = ImageShape(1, 16, 16)
    at = {row: (PlanePixels(*np.array([[row], [0]], np.int32), np.ones(1, np.float32)),) for row in (0, 1)}
    with LarcvWriter(tmp_path / "one.h5", shape) as writer:
        writer.write((0, 0, 0), {"sbndwire": at[1], "sbnd_cosmicseg": at[0]})
    read = LarcvFile(str(tmp_path / "one.h5"), "sbndwire", "sbnd_cosmicseg").read(0)
    assert (read.image[0].rows, read.label[0].rows) == (1, 0)


@settings(max_examples=60, deadline=None)
@given(events(), st.integers(0, 4))
def test_downsampled_is_pooled(drawn, level):
    shape, (event, *_) = drawn
    small, size = downsample_event(event, level), 2**level
    for which, pool in (("image", np.mean), ("label", np.max)):
        blocks = dense(getattr(event, which), shape).astype(np.float64)
        blocks = blocks.reshape(shape.planes, shape.height // size, size, shape.width // size, size)
        pooled = dense(getattr(small, which), small.shape)
        np.testing.assert_allclose(pooled, pool(blocks, axis=(2, 4)), rtol=1e-6, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(events(), st.integers(0, 2))
def test_a_batch_holds_every_pixel_once(drawn, fillers):
    shape, written = drawn
    batch = make_batch(written, len(written) + fillers, shape)
    for which, attribute in (("image", "image"), ("label", "label")):
        coordinates, values = batch[f"{which}_coordinates"], batch[f"{which}_values"]
        rebuilt = np.zeros((len(values), shape.planes, shape.height, shape.width), values.dtype)
        real = coordinates[..., 0] != PADDING_COORDINATE
        where = np.nonzero(real)[:2]
        rebuilt[(*where, coordinates[real][:, 0], coordinates[real][:, 1])] = values[real]
        for place, event in enumerate(written):
            np.testing.assert_array_equal(rebuilt[place], dense(getattr(event, attribute), shape))
            assert real[place].sum() == sum(len(p) for p in getattr(event, attribute))
        assert not rebuilt[len(written) :].any() and not values[~real].any()


@settings(max_examples=40, deadline=None)
@given(events(), st.integers(0, 4))
def test_a_pixel_gets_back_the_value_of_its_block(drawn, level):
    shape, (event, *_) = drawn
    small = downsample_event(event, level)
    for full, blocks in zip(event.image, small.image, strict=True):
        values = np.stack([blocks.values, np.arange(len(blocks), dtype=np.float32)], axis=1)
        for column, given_back in enumerate(at_stored_pixels(full, values, level, shape)):
            image = np.zeros((shape.height >> level, shape.width >> level), np.float32)
            image[blocks.rows, blocks.columns] = values[:, column]
            np.testing.assert_array_equal(given_back.values, image[full.rows >> level, full.columns >> level])
