"""The temperature that makes logits probabilities, fitted on data that no training has seen.

Divided by a temperature T, logits keep their order: what is called which class stays, and only how sure that is changes
(C. Guo et al., arXiv:1706.04599). With b = 1 / T, y the true class and o what another prior adds, the mean negative
log-likelihood

    f(b) = <ln sum_c exp(b z_c + o_c) - b z_y - o_y>

is convex in b. Its minimum is where the slope f'(b) = <sum_c p_c z_c - z_y>, p the softmax, changes its sign.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cosmictagger_tf.calibration.probabilities import CalibrationError, checked, prior_offsets, softmax
from cosmictagger_tf.detector import CLASS_NAMES, COSMIC_ONLY, EVENT_CLASS_NAMES, NEUTRINO_KINDS
from cosmictagger_tf.text import counted, listed

log = logging.getLogger(__name__)

# Temperatures: beyond them logits are all alike, or infinite.
LOWEST, HIGHEST = 1e-3, 1e3
# Halvings of ln(HIGHEST / LOWEST): to 1e-11 of the temperature.
HALVINGS = 40


class TemperatureFit(NamedTuple):
    """A temperature, and the mean negative log-likelihood of the data it was fitted on, without it and with it."""

    temperature: float
    before: float
    after: float


def fit_event_temperature(
    logits: np.ndarray, classes: np.ndarray, training_prior: float, training_kinds: Sequence[float] | None = None
) -> TemperatureFit:
    """The temperature of the class of readouts.

    The validation data may have another share of readouts with a neutrino than the training, and, where the training's
    are known, other shares of the kinds: that is allowed for.

    Args:
        logits: float [readouts, classes of a readout].
        classes: integer [readouts], the true ones; negative where unknown, which are left out.
        training_prior: share of the training's readouts that have a neutrino.
        training_kinds: of these the share of each kind, see Calibration; None where it is not known.

    Raises:
        CalibrationError: the data are of one sort alone (with a neutrino, without), or see fit_temperature.
    """
    classes = np.asarray(classes)
    known = classes[classes >= 0]
    if not len(known):
        raise CalibrationError("temperature: there is no readout whose class is known")
    share = float(np.mean(known != COSMIC_ONLY))
    if share in (0.0, 1.0):
        sort = "without a neutrino" if share else "with a neutrino (of known class: see --producer_particle)"
        raise CalibrationError(f"temperature: of {counted(len(known), 'readout')} none is {sort}: both are needed")
    offsets = prior_offsets(training_prior, share)
    if training_kinds is not None:
        kinds = np.bincount(known, minlength=len(offsets))[NEUTRINO_KINDS]
        # A kind that the data lack is ruled out: its offset is -inf.
        with np.errstate(divide="ignore"):
            offsets[NEUTRINO_KINDS] += np.log(kinds / kinds.sum()) - np.log(training_kinds)
    return fit_temperature(logits, classes, EVENT_CLASS_NAMES, "readout", offsets)


def fit_pixel_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> TemperatureFit:
    """The temperature of the class of pixels, of readouts that have a neutrino: see pixel_probabilities.

    Args:
        logits: float [pixels, classes of a pixel].
        labels: integer [pixels], the true classes; negative where unknown, which are left out.
        weights: float [pixels], how many equal pixels each stands for; None = one.

    Raises:
        CalibrationError: see fit_temperature.
    """
    return fit_temperature(logits, labels, CLASS_NAMES, "pixel", weights=weights)


def fit_temperature(
    logits: np.ndarray,
    classes: np.ndarray,
    names: Sequence[str],
    what: str,
    offsets: np.ndarray | float = 0.0,
    weights: np.ndarray | None = None,
) -> TemperatureFit:
    """The temperature that makes the data likeliest. Classes that the data lack are logged by name.

    Args:
        logits: float [n, classes].
        classes: integer [n], the true ones; negative where unknown, which are left out.
        names: of the classes.
        what: name of one item in messages, such as "readout".
        offsets: float [classes], what another prior adds to logits / temperature.
        weights: float [n], at least 0; None = all 1.

    Raises:
        CalibrationError: there are no data, a logit is not finite, or no temperature fits: all are called rightly, or
            the logits tell nothing of the true class.
    """
    classes = np.asarray(classes)
    weights = np.ones(len(classes)) if weights is None else np.asarray(weights, np.float64)
    counts = (classes >= 0) & (weights > 0)
    if not counts.any():
        raise CalibrationError(f"temperature: there is no {what} whose class is known")
    logits, classes, weights = checked(np.asarray(logits)[counts], what), classes[counts], weights[counts]
    weights = weights / weights.sum()
    absent = [name for number, name in enumerate(names) if number not in classes]
    if absent:
        log.info(f"temperature: fitted without {listed(absent)}: no such {what} is in the data")
    true = logits[np.arange(len(classes)), classes]

    def slope(inverse: float) -> float:
        return float(weights @ ((softmax(inverse * logits + offsets) * logits).sum(axis=-1) - true))

    low, high = 1 / HIGHEST, 1 / LOWEST
    if not slope(low) < 0 < slope(high):
        right = (logits.argmax(axis=-1) == classes).all()
        reason = "all are called rightly: give more data" if right else "the logits tell nothing of the true class"
        raise CalibrationError(f"temperature: none fits {counted(len(classes), what)}: {reason}")
    for _ in range(HALVINGS):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    temperature = float(1 / np.sqrt(low * high))
    before, after = (_loss(logits / t + offsets, classes, weights) for t in (1.0, temperature))
    return TemperatureFit(temperature, before, after)


def _loss(logits, classes, weights) -> float:
    # Mean negative log-likelihood.
    greatest = logits.max(axis=-1)
    sums = np.log(np.exp(logits - greatest[:, None]).sum(axis=-1)) + greatest
    return float(weights @ (sums - logits[np.arange(len(classes)), classes]))
