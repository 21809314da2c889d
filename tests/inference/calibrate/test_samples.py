"""What is kept of a batch: bounded, weighted, the same on any rank and in any batch."""

import numpy as np
import pytest

from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.truth import Truth
from cosmictagger_tf.detector import COSMIC_ONLY, N_CLASSES, NEUTRINO
from cosmictagger_tf.geometry import project
from cosmictagger_tf.inference.calibrate import samples
from cosmictagger_tf.inference.calibrate.samples import (
    Samples,
    only_vertices,
    samples_of,
    scored_vertices,
    without_not_finite,
)
from cosmictagger_tf.networks.segmentation import EVENT, PIXELS, VERTEX
from tests.inference.evaluate.test_head_details import POINT, SBND, cells_at
from tests.training.small import SHAPE, make_event


class FourEvents:
    shape = SHAPE

    def __len__(self):
        return 4

    def place(self, entry):
        return "events.h5", entry


def events() -> list[Event]:
    """Four events, of which the last two have no neutrino pixel."""
    made = [make_event(entry) for entry in range(4)]
    for entry in (2, 3):
        label = tuple(PlanePixels(p.rows, p.columns, np.minimum(p.values, 1)) for p in made[entry].label)
        made[entry] = Event(entry, (0, 0, entry), made[entry].image, label, SHAPE, Truth(()))
    return made


def outputs_of(batch, seed=0):
    # The same for a pixel wherever its event stands in the batch.
    rng = np.random.default_rng(seed)
    table, classes = rng.normal(0, 3, (4, 3, 256, N_CLASSES)), rng.normal(size=(4, 4))
    entries = np.maximum(batch["entries"], 0)
    assert batch["labels"].shape[2] == 256
    return {PIXELS: table[entries].astype(np.float32), EVENT: classes[entries].astype(np.float32)}


def taken(chosen, size=2):
    batch = make_batch(chosen, size, SHAPE, truth=True)
    return samples_of(batch, outputs_of(batch), FourEvents(), 0, False)


def test_neither_batches_nor_ranks_change_what_is_kept():
    one, two, three, four = events()
    whole = taken([one, two, three, four], 5)
    parts = Samples.join([taken([two, four]), taken([three]), taken([one])])
    for name in ("entries", "classes", "event_logits", "true_pixels"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    for name in ("sample", "candidates"):
        a, b = (getattr(each, name) for each in (parts, whole))
        for column in ("logits", "labels", "weights", "readouts", "planes"):
            np.testing.assert_array_equal(getattr(a, column), getattr(b, column), err_msg=column)
    assert whole.classes[2:].tolist() == [COSMIC_ONLY] * 2 and whole.cosmic_only.tolist() == [False] * 2 + [True] * 2
    assert set(whole.sample.readouts) == {0, 1}


def test_without_truth_the_labels_tell_of_cosmic_rays_only():
    batch = make_batch(events(), 4, SHAPE)
    kept, whole = samples_of(batch, outputs_of(batch), FourEvents(), 0, False), taken(events(), 4)
    assert kept.cosmic_only.tolist() == whole.cosmic_only.tolist() == [False] * 2 + [True] * 2
    for name in ("labels", "weights", "readouts"):
        np.testing.assert_array_equal(getattr(kept.sample, name), getattr(whole.sample, name))


def test_a_sample_stands_for_all_pixels_of_each_class(monkeypatch):
    monkeypatch.setattr(samples, "SAMPLE", 4 * 30)
    kept, every = taken(events(), 4).sample, [make_event(entry) for entry in range(2)]
    for readout, event in enumerate(every):
        labels = np.concatenate([plane.values for plane in event.label])
        for number in (1, NEUTRINO):
            here = (kept.readouts == readout) & (kept.labels == number)
            assert here.sum() == 10
            assert kept.weights[here].sum() == pytest.approx((labels == number).sum(), rel=1e-5)


def test_candidates_are_all_that_may_be_called_neutrino_or_stand_for_them(monkeypatch):
    batch = make_batch(events(), 4, SHAPE, truth=True)
    logits, listed = outputs_of(batch)[PIXELS], batch["image_coordinates"][..., 0] >= 0
    likely = listed & (logits[..., NEUTRINO] > logits[..., :NEUTRINO].max(axis=-1) - samples.MARGIN)
    kept = taken(events(), 4).candidates
    assert len(kept.labels) == likely.sum() < listed.sum() and (kept.weights == 1).all()
    np.testing.assert_array_equal(np.sort(kept.logits[:, 2]), np.sort(logits[likely][:, 2]))
    monkeypatch.setattr(samples, "CANDIDATES", 20)
    kept = taken(events(), 4).candidates
    images, number = np.unique(kept.readouts * 3 + kept.planes, return_counts=True)
    assert images.tolist() == list(range(12)) and (number == 20).all()
    np.testing.assert_allclose(np.bincount(kept.readouts * 3 + kept.planes, kept.weights), likely.sum(axis=2).ravel())


def test_what_is_not_finite_is_named_and_left_out():
    batch = make_batch(events(), 5, SHAPE, truth=True)
    outputs = outputs_of(batch) | {VERTEX: np.zeros((5, 3, 2, 2, 3), np.float32)}
    outputs[PIXELS][1, 2, 5] = np.nan
    # Of no use where padded.
    outputs[PIXELS][0, 0, -1] = np.nan
    outputs[EVENT][2, 0] = np.inf
    outputs[VERTEX][3, 1, 0, 0, 1] = np.inf
    left, errors = without_not_finite(batch, outputs, FourEvents())
    assert left["entries"].tolist() == [0, -1, -1, -1, -1]
    assert [str(error) for error in errors] == [
        "events.h5, entry 1, plane 2: the scores of 1 pixel are not finite: look at its charge, and at the weights",
        "events.h5, entry 2: what the event head gives is not finite: look at its charge, and at the weights",
        "events.h5, entry 3: what the vertex head gives is not finite: look at its charge, and at the weights",
    ]
    assert samples_of(left, outputs, FourEvents(), 0, False).entries.tolist() == [0]


def test_vertices_of_readouts_with_exactly_one():
    vertices = np.full((3, 8, 2, 2), -1.0, np.float32)
    vertices[0, 0] = (3.5, 4.5), (-1, -1)
    vertices[1, :2] = (1, 1)
    np.testing.assert_array_equal(only_vertices(vertices)[0], [[3.5, 4.5], [np.nan, np.nan]])
    assert np.isnan(only_vertices(vertices)[1:]).all()


def test_a_vertex_that_other_planes_tell_says_nothing_of_its_own_plane():
    seen = project(POINT, 0.0)
    elsewhere = seen.copy()
    elsewhere[1] = (1200.0, 1900.0)
    places = scored_vertices(cells_at(seen, elsewhere), SBND)
    np.testing.assert_allclose(places[0], seen, atol=1e-2)
    np.testing.assert_allclose(places[1, [0, 2]], seen[[0, 2]], atol=1e-2)
    assert np.isnan(places[1, 1]).all()
