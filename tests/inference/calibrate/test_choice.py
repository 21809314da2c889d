"""Working points: the best of those that are tried, and thresholds that keep no more than they may."""

from dataclasses import replace

import numpy as np
import pytest

from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.detector import COSMIC_ONLY, NUMU_CC
from cosmictagger_tf.inference.calibrate.choice import (
    FEW_PIXELS,
    CosmicIoU,
    LogProbabilities,
    best_pixels,
    best_selection,
    grid,
    looks_like_neutrino,
)
from cosmictagger_tf.inference.calibrate.samples import MARGIN, Pixels, Samples

READOUTS, PLANES = 60, 3
FITTED = Calibration(1.2, 0.9, 0.6)


def made(seed=0, pixels=300, event_head=True, joins=True, lifted=0.0) -> Samples:
    """Readouts, half of them with cosmic rays only, whose neutrino logits are `lifted`."""
    rng = np.random.default_rng(seed)
    classes = np.where(np.arange(READOUTS) % 2, COSMIC_ONLY, NUMU_CC)
    number = READOUTS * pixels
    readouts, planes = np.repeat(np.arange(READOUTS), pixels), np.tile(np.arange(pixels) % PLANES, READOUTS)
    with_neutrino = classes[readouts] != COSMIC_ONLY
    labels = np.where(with_neutrino & (rng.random(number) < 0.3), 2, rng.integers(0, 2, number))
    logits = rng.normal(0, 2, (number, 3)).astype(np.float32)
    logits[np.arange(number), labels] += 2
    logits[:, 2] += lifted
    events = rng.normal(0, 1, (READOUTS, 4)).astype(np.float32)
    events[np.arange(READOUTS), classes] += 2
    true = np.zeros((READOUTS, PLANES), np.int64)
    np.add.at(true, (readouts[labels == 2], planes[labels == 2]), 1)
    listed = Pixels(logits, labels.astype(np.int8), np.ones(number, np.float32), readouts, planes.astype(np.int8))
    entries = np.arange(READOUTS)
    return Samples(entries, classes, events if event_head else None, true, None, listed, listed, joins)


def called(samples, calibration, point):
    """By Calibration.called, readout by readout: the pixels' classes."""
    pixels = samples.candidates
    events = samples.event_logits[pixels.readouts] if samples.joins and samples.event_logits is not None else None
    return calibration.called(point, pixels.logits, events)


@pytest.mark.parametrize("samples", [made(), made(event_head=False), made(joins=False)], ids=("event", "bare", "apart"))
def test_margins_are_what_the_working_point_calls(samples):
    everything = np.ones(READOUTS, bool)
    for point in (WorkingPoint(), WorkingPoint(-0.5, -1.25), WorkingPoint(0.75, 0.5), WorkingPoint(0.5, joined=False)):
        pixels = LogProbabilities.of(samples, FITTED, everything, point.joined)
        neutrino = called(samples, FITTED, point) == 2
        np.testing.assert_array_equal(pixels.margins(point.background_shift) > -point.neutrino_shift, neutrino)
        counts = np.zeros((READOUTS, PLANES), int)
        np.add.at(counts, (samples.candidates.readouts[neutrino], samples.candidates.planes[neutrino]), 1)
        enough = (counts > FEW_PIXELS).all(axis=1)
        np.testing.assert_array_equal(looks_like_neutrino(samples, FITTED, point), enough)
    assert 0 < enough.sum() < READOUTS


def test_the_iou_is_that_of_the_readouts_with_a_neutrino():
    samples = made()
    chosen = ~samples.cosmic_only
    neutrino = called(samples, FITTED, WorkingPoint()) == 2
    pixels, values = samples.candidates, []
    for readout in np.flatnonzero(chosen):
        for plane in range(PLANES):
            here = (pixels.readouts == readout) & (pixels.planes == plane)
            true, predicted = pixels.labels[here] == 2, neutrino[here]
            values.append((true & predicted).sum() / (true | predicted).sum())
    of_those = LogProbabilities.of(samples, FITTED, chosen)
    assert of_those.neutrino_ious(0.0, np.array([-1.0, 0.0, 0.5]))[1] == pytest.approx(np.mean(values))


def test_the_best_shifts_undo_what_the_training_did():
    chosen = best_pixels(made(event_head=False, lifted=1.5), Calibration())
    assert chosen.neutrino_iou > chosen.unshifted_neutrino_iou + 0.01
    assert -2.5 < chosen.point.neutrino_shift - chosen.point.background_shift / 2 < -0.5


@pytest.mark.parametrize("joins", [True, False])
def test_no_other_shifts_have_greater_ious(joins):
    samples = made(joins=joins)
    pixels = LogProbabilities.of(samples, FITTED, ~samples.cosmic_only, joined=not joins)
    cosmics = CosmicIoU(samples, FITTED, not joins)
    point, *chosen = best_pixels(samples, FITTED)

    def ious(background, neutrino):
        return [each(background, np.array([neutrino]))[0] for each in (pixels.neutrino_ious, cosmics.at)]

    # What each pixel is where there is a neutrino does not depend on how likely that is.
    assert point.joined != joins
    assert chosen == pytest.approx([*ious(point.background_shift, point.neutrino_shift), *ious(0.0, 0.0)])
    others = [(0.0, -0.5), (-0.25, 0.25), (0.5, 0.5), (point.background_shift, point.neutrino_shift + 0.25)]
    assert all(sum(ious(*other)) <= sum(chosen[:2]) for other in others)


def test_the_cosmic_iou_counts_each_pixel_for_as_many_as_it_stands_for():
    samples = made()
    weights = np.random.default_rng(1).integers(1, 5, len(samples.sample.labels)).astype(np.float32)
    weighted = replace(samples, sample=replace(samples.sample, weights=weights))
    shifts = np.array([-1.5, -1.25, 0.25])
    ious = CosmicIoU(weighted, FITTED).at(-0.5, shifts)
    for shift, iou in zip(shifts, ious, strict=True):
        calls = called(samples, FITTED, WorkingPoint(-0.5, shift)), samples.sample.labels
        cosmic, true = (np.repeat(classes == 1, weights.astype(int)) for classes in calls)
        assert iou == pytest.approx((cosmic & true).sum() / (cosmic | true).sum())


def test_a_background_that_was_taught_too_often_is_called_less():
    samples = made(event_head=False)
    logits = samples.sample.logits + np.float32([2.0, 0, 0])
    shifted = replace(samples.sample, logits=logits)
    chosen = best_pixels(replace(samples, sample=shifted, candidates=shifted), Calibration())
    assert chosen.point.background_shift < -1 and chosen.cosmic_iou > chosen.unshifted_cosmic_iou + 0.01


def test_shifts_at_the_edge_of_what_is_tried_are_named(caplog):
    point = best_pixels(made(event_head=False, lifted=7.0), Calibration()).point
    assert point.neutrino_shift == -4 or abs(point.background_shift) == 2
    assert "the outermost that are tried" in caplog.messages[-1]
    caplog.clear()
    best_pixels(made(event_head=False), Calibration())
    assert not caplog.messages


def test_shifts_stay_where_all_pixels_that_count_are_kept():
    assert grid(1.0)[0] == (0.0, 0.0)
    assert all(n + max(-b, 0) <= MARGIN / 4 for b, n in grid(4.0)) and len(grid(4.0)) < len(grid(1.0))


@pytest.mark.parametrize("event_head", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_a_selection_keeps_no_more_than_it_may(event_head, share):
    samples = made(event_head=event_head, lifted=1.0)
    point = best_selection(samples, replace(FITTED, pixels=WorkingPoint(joined=False)), share, share)
    cosmic = samples.cosmic_only
    passed = looks_like_neutrino(samples, FITTED, point)
    most = int(share * cosmic.sum())
    assert passed[cosmic].sum() <= most
    assert point.neutrino_shift <= FITTED.pixels.neutrino_shift and point.joined
    if point.neutrino_shift < FITTED.pixels.neutrino_shift:
        # A little looser, and more pass.
        looser = WorkingPoint(point.background_shift, point.neutrino_shift + 2e-6)
        assert looks_like_neutrino(samples, FITTED, looser)[cosmic].sum() > most
    if event_head:
        kept = FITTED.kept(point, samples.event_logits)
        assert kept[cosmic].sum() == most and kept[~cosmic].mean() > kept[cosmic].mean()
    else:
        assert point.event_probability is None
