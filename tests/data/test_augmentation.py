"""Augmentation moves labels with their pixels, keeps the detector's geometry, and repeats itself."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    TrainConfig,
)
from cosmictagger_tf.data.augmentation import GAIN_BOUNDS, MOST_SHIFT, Augmentation, draw
from cosmictagger_tf.data.dataset import SyntheticReader, open_reader
from cosmictagger_tf.data.pipeline import training_dataset
from cosmictagger_tf.data.truth import Truth
from cosmictagger_tf.detector import ADC_THRESHOLD, ImageShape
from cosmictagger_tf.simulation.measures import close_to
from cosmictagger_tf.training.run_config import RunConfig, log_augmentation

SHAPE = ImageShape(3, 64, 32)
CHANGES = st.builds(
    Augmentation,
    flip=st.booleans(),
    shift=st.integers(-40, 40),
    gains=st.tuples(*[st.floats(*GAIN_BOUNDS)] * 3),
    noise=st.tuples(*[st.floats(0, 5)] * 3),
    seed=st.tuples(st.integers(0, 2**32), st.integers(0, 2**40)),
)


def dense(planes):
    return np.stack([pixels.dense(SHAPE.height, SHAPE.width) for pixels in planes])


def expected(images, flip, shift):
    """The same change of dense images [planes, rows, columns], by slices."""
    middle = SHAPE.height // 2
    out = np.zeros_like(images)
    kept = max(0, middle - abs(shift))
    if shift >= 0:
        out[:, middle - kept : middle] = images[:, :kept]
        out[:, middle : middle + kept] = images[:, SHAPE.height - kept :]
    else:
        out[:, :kept] = images[:, middle - kept : middle]
        out[:, SHAPE.height - kept :] = images[:, middle : middle + kept]
    # In images as full of particles as these no pixel is noise.
    return out[:, ::-1] if flip else out


@settings(max_examples=60, deadline=None)
# A shift that leaves next to nothing: what lay near a pixel that is cut off is no noise.
@example(change=Augmentation(True, 31, (1.0,) * 3, (0.0,) * 3, (0, 0)), entry=0)
@given(change=CHANGES, entry=st.integers(0, 5))
def test_every_class_stays_with_its_pixel(change, entry):
    event = SyntheticReader(6, SHAPE).read(entry)
    after = change.apply(event)
    np.testing.assert_array_equal(dense(after.label), expected(dense(event.label), change.flip, change.shift))
    stored = [np.stack([(p.dense(64, 32) != 0) for p in e.image]) for e in (event, after)]
    np.testing.assert_array_equal(stored[1], expected(stored[0], change.flip, change.shift))
    for image, label in zip(after.image, after.label, strict=True):
        assert image.rows is label.rows and image.columns is label.columns
        assert image.rows.dtype == np.int32 and image.values.dtype == np.float32
        assert not len(image) or (image.values >= ADC_THRESHOLD).all()


@settings(max_examples=60, deadline=None)
@given(change=CHANGES, places=st.lists(st.tuples(st.floats(0, 63.999), st.floats(0, 31.999)), min_size=1, max_size=4))
def test_a_vertex_goes_with_the_pixel_that_it_is_in(change, places):
    vertices = np.repeat(np.array(places)[:, None], 3, axis=1)
    vertices[0, 2] = np.nan
    event = replace(SyntheticReader(6, SHAPE).read(0), truth=Truth(vertices=vertices))
    after = change.apply(event).truth.vertices
    for before, place in zip(vertices[:, 0], after[:, 0], strict=True):
        marked = np.zeros((1, SHAPE.height, SHAPE.width))
        marked[(0, *before.astype(int))] = 1
        there = np.argwhere(expected(marked, change.flip, change.shift)[0])
        assert there.tolist() == ([] if np.isnan(place).any() else [np.floor(place).tolist()])
    assert np.isnan(after[0, 2]).all() and after.shape == vertices.shape


def test_twice_mirrored_is_where_it_was():
    vertices = np.array([[[3.25, 4.5], [63.75, 0.5], [32.0, 31.0]]])
    event = replace(SyntheticReader(6, SHAPE).read(0), truth=Truth(vertices=vertices))
    mirror = Augmentation(True, 0, (1.0,) * 3, (0.0,) * 3, (0, 0))
    np.testing.assert_allclose(mirror.apply(mirror.apply(event)).truth.vertices, vertices, atol=2e-3)


def test_an_event_without_truth_has_none_afterwards():
    event = SyntheticReader(6, SHAPE).read(0)
    for truth in (None, Truth()):
        assert draw(1, 7, 3).apply(replace(event, truth=truth)).truth is truth


def test_labels_with_pixels_of_their_own_move_alike():
    event = SyntheticReader(6, SHAPE).read(1)
    copies = [type(p)(p.rows.copy(), p.columns.copy(), p.values) for p in event.label]
    apart = type(event)(event.entry, event.event_id, event.image, tuple(copies), event.shape)
    change = draw(1, 7, 3)
    np.testing.assert_array_equal(dense(change.apply(event).label), dense(change.apply(apart).label))


def test_without_change_nothing_changes():
    event = SyntheticReader(6, SHAPE).read(2)
    after = Augmentation(False, 0, (1.0,) * 3, (0.0,) * 3, (0, 0)).apply(event)
    np.testing.assert_array_equal(dense(after.image), dense(event.image))


def test_mirrored_twice_is_the_event():
    event = SyntheticReader(6, SHAPE).read(3)
    mirror = Augmentation(True, 0, (1.0,) * 3, (0.0,) * 3, (0, 0))
    np.testing.assert_array_equal(dense(mirror.apply(mirror.apply(event)).image), dense(event.image))
    assert not np.array_equal(dense(mirror.apply(event).image), dense(event.image))


def test_the_mirror_keeps_the_detectors_noise_where_it_is(any_file):
    # In the sample most noise lies in the second half of plane 0 and in the first of plane 1.
    mirror = Augmentation(True, 0, (1.0,) * 3, (0.0,) * 3, (0, 0))
    reader = open_reader(DataConfig(file=(str(any_file),)))
    for entry in range(len(reader)):
        event = reader.read(entry)
        for changed in (event, mirror.apply(event)):
            background = [p.rows[label.values == 0] for p, label in zip(changed.image, changed.label, strict=True)]
            halves = [np.bincount(rows // 640, minlength=2) for rows in background]
            assert halves[0][1] > 2 * halves[0][0] and halves[1][0] > 2 * halves[1][1]


def test_the_mirror_leaves_deposits_on_their_plane(any_file):
    mirror = Augmentation(True, 0, (1.0,) * 3, (0.0,) * 3, (0, 0))
    event = open_reader(DataConfig(file=(str(any_file),))).read(1)
    after = mirror.apply(event)
    size = event.shape.height, event.shape.width
    for image, label, new_image, new_label in zip(event.image, event.label, after.image, after.label, strict=True):
        assert new_image.rows is new_label.rows
        ids = new_image.columns.astype(np.int64) * event.shape.height + new_image.rows
        assert len(np.unique(ids)) == len(ids)
        # Every labelled pixel is there, and what is stored around it: its pulse.
        np.testing.assert_array_equal(new_label.dense(*size), label.dense(*size)[::-1])
        lit = (label.dense(*size) > 0).astype(np.uint8)
        before, mirrored = image.dense(*size), new_image.dense(*size)[::-1]
        stored = np.nonzero(before)
        near = close_to(lit, *stored)
        np.testing.assert_array_equal(mirrored[stored][near], before[stored][near])
    counts = [[len(plane) for plane in e.image] for e in (event, after)]
    assert sum(counts[0]) - 300 < sum(counts[1]) <= sum(counts[0]) and counts[0][:2] != counts[1][:2]


def test_gains_and_noise_are_as_drawn():
    reader = SyntheticReader(1, ImageShape(3, 640, 640))
    event = reader.read(0)
    after = Augmentation(False, 0, (1.1, 0.9, 1.0), (0.0, 0.0, 2.0), (3, 4)).apply(event)
    for plane, gain in enumerate((1.1, 0.9)):
        wanted = np.maximum(event.image[plane].values * np.float32(gain), ADC_THRESHOLD)
        np.testing.assert_allclose(after.image[plane].values, wanted, rtol=1e-6)
    above = event.image[2].values > 20
    noise = (after.image[2].values - event.image[2].values)[above]
    assert abs(noise.mean()) < 0.2 and 1.8 < noise.std() < 2.2


def test_what_is_drawn_covers_its_range_and_depends_on_seed_and_position_only():
    drawn = [draw(5, position, 3) for position in range(400)]
    assert {change.shift for change in drawn} == set(range(-MOST_SHIFT, MOST_SHIFT + 1))
    assert 150 < sum(change.flip for change in drawn) < 250
    assert drawn[17] == draw(5, 17, 3) != draw(6, 17, 3)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_and_resuming_do_not_change_it(ranks):
    config = DataConfig(synthetic=True, downsample=1, minibatch_size=4)

    def batches(start, steps, rank=0, of=1, augment=True):
        stream = training_dataset(SyntheticReader(6, SHAPE), config, 3, start, steps, rank, of, augment=augment)
        return list(stream.batches.as_numpy_iterator())

    whole = batches(0, 3)
    plain = batches(0, 3, augment=False)
    assert not np.array_equal(whole[2]["image_values"].sum((1, 2)), plain[2]["image_values"].sum((1, 2)))
    for step in range(3):
        parts = [batches(step, 1, rank, ranks)[0] for rank in range(ranks)]
        for name in ("entries", "image_values"):
            joined = np.concatenate([_padded(part[name], whole[step][name].shape[1:]) for part in parts])
            np.testing.assert_array_equal(joined, whole[step][name])


def _padded(part, shape):
    return np.pad(part, [(0, 0), *((0, to - have) for have, to in zip(part.shape[1:], shape, strict=True))])


@pytest.mark.parametrize("shape", [SHAPE, ImageShape(2, 1280, 2048), ImageShape(3, 1280, 1024)])
def test_where_the_cathode_is_not_known_no_pixel_moves(shape, caplog):
    reader, config = SyntheticReader(2, shape), DataConfig(synthetic=True, downsample=0, minibatch_size=2)
    batches = {
        augment: next(iter(training_dataset(reader, config, 3, 0, 1, augment=augment).generate()))
        for augment in (False, True)
    }
    for name in ("image_coordinates", "label_coordinates", "label_values"):
        np.testing.assert_array_equal(batches[True][name], batches[False][name])
    assert not np.array_equal(batches[True]["image_values"], batches[False]["image_values"])
    configs = (kind() for kind in (DataConfig, NetworkConfig, OptimizerConfig, ExecutionConfig, OutputConfig))
    run = RunConfig(*configs, TrainConfig(iterations=1, augment=True))
    log_augmentation(run, shape)
    assert len(caplog.messages) == 1 and "mirror and shift" in caplog.messages[0]
    log_augmentation(run, ImageShape())
    assert len(caplog.messages) == 1
