"""The choice of working points, from probabilities at equal priors.

A pixel is called neutrino where ln P(neutrino) + neutrino_shift is above ln P(background) + background_shift and above
ln P(cosmic): see WorkingPoint.called.
"""

import logging
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cosmictagger_tf.calibration.probabilities import neutrino_probability
from cosmictagger_tf.calibration.working_points import EQUAL_PRIOR, Calibration, WorkingPoint
from cosmictagger_tf.detector import BACKGROUND, COSMIC, NEUTRINO
from cosmictagger_tf.inference.calibrate.samples import MARGIN, Pixels, Samples
from cosmictagger_tf.inference.evaluate.selection import threshold_for

log = logging.getLogger(__name__)

# The shifts that are tried: in steps that move an IoU by less than a training moves it.
STEP, LOWEST_NEUTRINO, HIGHEST_NEUTRINO, MOST_BACKGROUND = 0.25, -4.0, 2.0, 2.0
# With more neutrino pixels than this on every plane a readout looks like one with a neutrino (the reference's cut).
FEW_PIXELS = 10
# Beyond the rounding of a logarithm: a pixel at the threshold is not called neutrino.
TINY = 1e-6


@dataclass(frozen=True)
class LogProbabilities:
    """The candidates' pixels as working points see them.

    Attributes:
        logs: float64 [n, classes of a pixel], the logarithms of their probabilities at equal priors.
        neutrino: bool [n], in truth.
        weights: float [n].
        images: int64 [n], readout times planes plus plane.
        true_pixels: int64 [readouts, planes], labelled neutrino.
    """

    logs: np.ndarray
    neutrino: np.ndarray
    weights: np.ndarray
    images: np.ndarray
    true_pixels: np.ndarray

    @classmethod
    def of(
        cls, samples: Samples, calibration: Calibration, readouts: np.ndarray, joined: bool = True
    ) -> "LogProbabilities":
        """Those of some readouts, bool [readouts]; the others are not counted. For `joined` see WorkingPoint."""
        pixels: Pixels = samples.candidates.of(readouts)
        logs = calibration.at_point(WorkingPoint(joined=joined), pixels.logits, samples.events_of(pixels))
        numbers, planes = np.cumsum(readouts) - 1, samples.true_pixels.shape[1]
        images = numbers[pixels.readouts] * planes + pixels.planes
        return cls(logs, pixels.labels == NEUTRINO, pixels.weights, images, samples.true_pixels[readouts])

    def margins(self, background_shift: float) -> np.ndarray:
        """float64 [n]: a pixel is called neutrino where it is above minus the neutrino_shift."""
        others = np.maximum(self.logs[:, BACKGROUND] + background_shift, self.logs[:, COSMIC])
        return self.logs[:, NEUTRINO] - others

    def neutrino_ious(self, background_shift: float, neutrino_shifts: np.ndarray) -> np.ndarray:
        """The mean over readouts and planes, float64 [shifts], at each of some neutrino_shifts, which rise."""
        # The first shift that calls a pixel neutrino: what is called is summed up along the shifts.
        first = np.searchsorted(neutrino_shifts, -self.margins(background_shift), side="right")
        shape = self.true_pixels.size, len(neutrino_shifts) + 1
        places = self.images * shape[1] + first
        predicted, right = (
            np.bincount(places[chosen], self.weights[chosen], math.prod(shape)).reshape(shape).cumsum(axis=1)[:, :-1]
            for chosen in (slice(None), self.neutrino)
        )
        union = self.true_pixels.reshape(-1, 1) + predicted - right
        return np.where(union > 0, right / np.where(union > 0, union, 1.0), 1.0).mean(axis=0)

    def readout_margins(self, background_shift: float) -> np.ndarray:
        """For each readout the margin m, float64 [readouts], such that every plane has more than FEW_PIXELS neutrino
        pixels exactly when neutrino_shift > -m; -inf if no shift gives so many."""
        margins = self.margins(background_shift)
        order = np.lexsort((-margins, self.images))
        images, summed = self.images[order], np.cumsum(self.weights[order], dtype=np.float64)
        first = np.searchsorted(images, np.arange(self.true_pixels.size))
        before = np.concatenate([[0.0], summed])[first]
        enough = summed - before[images] > FEW_PIXELS
        values = np.full(self.true_pixels.size, -np.inf)
        np.maximum.at(values, images[enough], margins[order][enough])
        return values.reshape(self.true_pixels.shape).min(axis=1)


class CosmicIoU:
    """The IoU of cosmic pixels over all sampled pixels of readouts that have a neutrino.

    Args:
        samples: of the validation data.
        calibration: of the network.
        joined: see WorkingPoint.
    """

    def __init__(self, samples: Samples, calibration: Calibration, joined: bool = True):
        pixels = samples.sample
        self.logs = calibration.at_point(WorkingPoint(joined=joined), pixels.logits, samples.events_of(pixels))
        self.true, self.weights = pixels.labels == COSMIC, pixels.weights.astype(np.float64)

    def at(self, background_shift: float, neutrino_shifts: np.ndarray) -> np.ndarray:
        """At each of some neutrino_shifts, which rise: float64 [shifts]; 1 where no pixel is cosmic, true or called."""
        background, cosmic, neutrino = (self.logs[:, c] for c in (BACKGROUND, COSMIC, NEUTRINO))
        # So many of the shifts, from the least, call a pixel cosmic.
        number = np.searchsorted(neutrino_shifts, cosmic - neutrino, side="right")
        number = np.where(cosmic > background + background_shift, number, 0)
        called, right = (
            np.bincount(number[chosen], self.weights[chosen], len(neutrino_shifts) + 1)[::-1].cumsum()[::-1][1:]
            for chosen in (slice(None), self.true)
        )
        union = self.weights[self.true].sum() + called - right
        return np.where(union > 0, right / np.where(union > 0, union, 1.0), 1.0)


class PixelsChoice(NamedTuple):
    """The working point `pixels`, and what was measured there and without shifts.

    Attributes:
        point: the working point.
        neutrino_iou, cosmic_iou: at it; see LogProbabilities.neutrino_ious, CosmicIoU.
        unshifted_neutrino_iou, unshifted_cosmic_iou: without shifts.
    """

    point: WorkingPoint
    neutrino_iou: float
    cosmic_iou: float
    unshifted_neutrino_iou: float
    unshifted_cosmic_iou: float


def probability_at_equal_priors(samples: Samples, calibration: Calibration) -> np.ndarray | None:
    """P(the readout has a neutrino), float64 [readouts]; None without an event head."""
    if samples.event_logits is None:
        return None
    return neutrino_probability(calibration.event_probabilities(samples.event_logits, EQUAL_PRIOR))


def grid(pixel_temperature: float) -> list[tuple[float, float]]:
    """The (background_shift, neutrino_shift) that are tried, those nearest to none first.

    Only those that call none neutrino of the pixels that were not kept for the choice (samples.MARGIN).
    """
    backgrounds = np.arange(-MOST_BACKGROUND, MOST_BACKGROUND + STEP, STEP).tolist()
    neutrinos = np.arange(LOWEST_NEUTRINO, HIGHEST_NEUTRINO + STEP, STEP).tolist()
    reach = MARGIN / pixel_temperature
    points = [(b, n) for b in backgrounds for n in neutrinos if n + max(-b, 0.0) <= reach]
    return sorted(points, key=lambda point: abs(point[0]) + abs(point[1]))


def best_pixels(samples: Samples, calibration: Calibration) -> PixelsChoice:
    """The shifts with the greatest sum of both IoUs over the readouts that have a neutrino; there is such a readout.

    The point is not joined: what each pixel is where there is a neutrino does not depend on how likely that is, and the
    point `selection` tells whether there is one.
    """
    joined = not samples.joins
    pixels = LogProbabilities.of(samples, calibration, ~samples.cosmic_only, joined)
    cosmics = CosmicIoU(samples, calibration, joined)

    points = grid(calibration.pixel_temperature)
    neutrino_shifts = np.unique([neutrino for _, neutrino in points])
    ious = {}
    for background in {background for background, _ in points}:
        scanned = (
            each.tolist()
            for each in (pixels.neutrino_ious(background, neutrino_shifts), cosmics.at(background, neutrino_shifts))
        )
        for neutrino, *values in zip(neutrino_shifts.tolist(), *scanned, strict=True):
            ious[background, neutrino] = values
    # Of equal ones the first, which is the nearest to none.
    shifts = max(points, key=lambda shifts: sum(ious[shifts]))
    point, best, unshifted = WorkingPoint(*shifts, joined=joined), ious[shifts], ious[0.0, 0.0]
    if abs(point.background_shift) == MOST_BACKGROUND or point.neutrino_shift in (LOWEST_NEUTRINO, HIGHEST_NEUTRINO):
        log.info("working point pixels: the best shifts are the outermost that are tried: better ones may lie beyond")
    return PixelsChoice(point, *best, *unshifted)


def best_selection(samples: Samples, calibration: Calibration, kept: float, kept_by_pixels: float) -> WorkingPoint:
    """The thresholds that keep no more than these shares of the readouts with cosmic rays only; there are some.

    The pixels' shifts are those of calibration.pixels, but for as much of the neutrino's as has to go.
    """
    point = replace(calibration.pixels, joined=True)
    has_neutrino = probability_at_equal_priors(samples, calibration)
    if has_neutrino is not None:
        threshold = threshold_for(has_neutrino[samples.cosmic_only], kept)
        point = replace(point, event_probability=max(threshold, 0.0))
    cosmic = LogProbabilities.of(samples, calibration, samples.cosmic_only)
    most = -threshold_for(cosmic.readout_margins(point.background_shift), kept_by_pixels) - TINY
    return replace(point, neutrino_shift=min(point.neutrino_shift, most))


def looks_like_neutrino(samples: Samples, calibration: Calibration, point: WorkingPoint) -> np.ndarray:
    """bool [readouts]: more than FEW_PIXELS neutrino pixels on every plane at a working point."""
    pixels = LogProbabilities.of(samples, calibration, np.ones(len(samples.entries), bool), point.joined)
    return pixels.readout_margins(point.background_shift) > -point.neutrino_shift
