"""Logits become probabilities: divided by a temperature, moved to another prior, and joined for pixels and readouts.

With z the logits of a readout, T the temperature, s the share of training readouts with a neutrino and q that of the
experiment, the probability of class c is, by Bayes' rule,

    P(c) = r_c exp(z_c / T) / sum_k r_k exp(z_k / T)

with r = q / s for the three kinds of neutrino and (1 - q) / (1 - s) for cosmic rays only (M. Saerens et al., Neural
Computation 14 (2002) 21). Among the three kinds the training's proportions stay.
"""

from typing import Any

import numpy as np

from cosmictagger_tf.detector import COSMIC_ONLY, N_EVENT_CLASSES, NEUTRINO
from cosmictagger_tf.errors import UserError


class CalibrationError(UserError):
    """Nothing can be calibrated with what was given; the message says what is missing or wrong."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities that logits [..., classes] stand for, float64; -inf is a class that is ruled out."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def checked(logits: np.ndarray, what: str) -> np.ndarray:
    """Logits [..., classes] as float64; raises CalibrationError where one is not finite.

    Args:
        logits: of any float dtype.
        what: name of one item in messages, such as "readout".
    """
    logits = np.asarray(logits, np.float64)
    wrong = ~np.isfinite(logits).all(axis=-1)
    if wrong.any():
        raise CalibrationError(f"{wrong.sum()} of {wrong.size} {what}s have a logit that is not finite")
    return logits


def prior_offsets(training_prior: float, prior: float) -> np.ndarray:
    """ln r of each class of a readout (see above): what is added to its logit; -inf where the prior rules it out.

    Args:
        training_prior: share of the training's readouts that have a neutrino, between 0 and 1.
        prior: share of the experiment's, 0 to 1.

    Returns:
        float64 [classes of a readout].

    Raises:
        CalibrationError: one is no such share.
    """
    check_training_prior(training_prior)
    if not 0 <= prior <= 1:
        raise CalibrationError(f"prior {prior:g}: the share of readouts with a neutrino is from 0 to 1")
    with np.errstate(divide="ignore"):
        offsets = np.full(N_EVENT_CLASSES, np.log(prior) - np.log(training_prior))
        offsets[COSMIC_ONLY] = np.log1p(-prior) - np.log1p(-training_prior)
    return offsets


def check_training_prior(share: float):
    """Raises CalibrationError where a training saw readouts of one sort alone, and can tell nothing of the other."""
    if not 0 < share < 1:
        sort = "without a neutrino" if share == 1 else "with a neutrino"
        reason = f"the training saw no readout {sort}" if share in (0, 1) else "must be between 0 and 1"
        raise CalibrationError(f"share of the training's readouts with a neutrino {share:g}: {reason}")


def check_training_kinds(shares: Any, training_prior: float | None):
    """Raises CalibrationError where these are no shares of the kinds of neutrino among a training's readouts."""
    kinds = N_EVENT_CLASSES - 1
    if training_prior is None:
        raise CalibrationError("training_kinds: need training_prior")
    try:
        right = len(shares) == kinds and all(0 < share < 1 for share in shares) and abs(sum(shares) - 1) < 1e-6
    except TypeError:
        right = False
    if not right:
        raise CalibrationError(f"training_kinds {shares!r}: must be {kinds} numbers above 0 that sum to 1")


def event_probabilities(logits: np.ndarray, temperature: float = 1.0, offsets: np.ndarray | float = 0.0) -> np.ndarray:
    """The probability of each class of readouts.

    Args:
        logits: float [..., classes of a readout].
        temperature: see temperature.py.
        offsets: see prior_offsets; 0 = the training's prior.

    Returns:
        float64, the same shape; the last axis sums to 1.

    Raises:
        CalibrationError: a logit is not finite.
    """
    return softmax(checked(logits, "readout") / temperature + offsets)


def neutrino_probability(probabilities: np.ndarray) -> np.ndarray:
    """P(the readout has a neutrino), float64 [...], from the probabilities of its classes [..., classes]."""
    # The kinds' sum, which rounding may take beyond 1; 1 - P(cosmic rays only) would lose the digits of small ones.
    return np.minimum(np.delete(probabilities, COSMIC_ONLY, axis=-1).sum(axis=-1), 1.0)


def pixel_probabilities(
    logits: np.ndarray, has_neutrino: np.ndarray | float = 1.0, temperature: float = 1.0
) -> np.ndarray:
    """The probability of each class of pixels.

    That of neutrino is P(neutrino | the readout has one) P(the readout has one). What is left goes to background and
    cosmic in the proportion of their own logits, which is the same with and without a neutrino.

    Args:
        logits: float [..., classes of a pixel], of a readout that has a neutrino.
        has_neutrino: P(the readout has a neutrino), to be broadcast to [...]; 1 where nothing tells.
        temperature: see temperature.py.

    Returns:
        float64, the same shape as the logits; the last axis sums to 1.

    Raises:
        CalibrationError: a logit is not finite, or has_neutrino is no probability.
    """
    has_neutrino = np.asarray(has_neutrino, np.float64)
    if not ((has_neutrino >= 0) & (has_neutrino <= 1)).all():
        raise CalibrationError("the probability that a readout has a neutrino is from 0 to 1")
    logits = checked(logits, "pixel") / temperature
    neutrino = softmax(logits)[..., NEUTRINO] * has_neutrino
    others = softmax(np.delete(logits, NEUTRINO, axis=-1)) * (1 - neutrino)[..., None]
    return np.insert(others, [NEUTRINO], neutrino[..., None], axis=-1)
