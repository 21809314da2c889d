"""The choice of working points, from probabilities at equal priors.

A pixel is called neutrino where ln P(neutrino) + neutrino_shift is above ln P(background) + background_shift and above
ln P(cosmic): see WorkingPoint.called.
"""

import logging
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

    def neutrino_iou(self, called: np.ndarray) -> float:
        """The mean over readouts and planes, where bool [n] pixels are called neutrino."""
        number = self.true_pixels.size
        predicted, right = (
            np.bincount(self.images[chosen], self.weights[chosen], number)
            for chosen in (called, called & self.neutrino)
        )
        union = self.true_pixels.reshape(-1) + predicted - right
        return float(np.where(union > 0, right / np.where(union > 0, union, 1.0), 1.0).mean())

    def fewest_margins(self, background_shift: float) -> np.ndarray:
        """float64 [readouts]: every plane has more than FEW_PIXELS neutrino pixels where it is above minus the
        neutrino_shift; -inf where no shift calls so many."""
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

    def at(self, point: WorkingPoint) -> float:
        """That at a working point; 1 where there is no cosmic pixel, neither true nor called."""
        called = np.argmax(self.logs + point.shifts, axis=-1) == COSMIC
        union = self.weights[called | self.true].sum()
        return float(self.weights[called & self.true].sum() / union) if union else 1.0


class PixelsChoice(NamedTuple):
    """The working point `pixels`, and what was measured there and without shifts.

    Attributes:
        point: the working point.
        neutrino_iou, cosmic_iou: at it; see LogProbabilities.neutrino_iou, CosmicIoU.
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

    def ious(point: WorkingPoint):
        called = pixels.margins(point.background_shift) > -point.neutrino_shift
        return pixels.neutrino_iou(called), cosmics.at(point)

    point = WorkingPoint(joined=joined)
    unshifted = best = ious(point)
    for background, neutrino in grid(calibration.pixel_temperature):
        other = replace(point, background_shift=background, neutrino_shift=neutrino)
        values = ious(other)
        if sum(values) > sum(best):
            point, best = other, values
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
    most = -threshold_for(cosmic.fewest_margins(point.background_shift), kept_by_pixels) - TINY
    return replace(point, neutrino_shift=min(point.neutrino_shift, most))


def looks_like_neutrino(samples: Samples, calibration: Calibration, point: WorkingPoint) -> np.ndarray:
    """bool [readouts]: more than FEW_PIXELS neutrino pixels on every plane at a working point."""
    pixels = LogProbabilities.of(samples, calibration, np.ones(len(samples.entries), bool), point.joined)
    return pixels.fewest_margins(point.background_shift) > -point.neutrino_shift
