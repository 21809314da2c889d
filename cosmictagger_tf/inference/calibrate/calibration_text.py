"""What is printed of a calibration."""

import numpy as np

from cosmictagger_tf.calibration.temperature import TemperatureFit
from cosmictagger_tf.calibration.working_points import WorkingPoint
from cosmictagger_tf.inference.calibrate.calibrate_run import CalibrationResult
from cosmictagger_tf.inference.calibrate.choice import FEW_PIXELS, looks_like_neutrino, probability_at_equal_priors
from cosmictagger_tf.inference.evaluate.rates import rate
from cosmictagger_tf.inference.evaluate.selection import KEPT_SHARES, threshold_for
from cosmictagger_tf.text import counted


def calibration_text(result: CalibrationResult) -> str:
    """Temperatures and working points, and what the latter keep of the data that they were chosen on."""
    calibration, samples, pixels = result.calibration, result.samples, result.pixels
    cosmic = samples.cosmic_only
    lines = [
        f"{counted(len(cosmic), 'readout')}, {cosmic.sum()} with cosmic rays only",
        f"temperature of pixels {calibration.pixel_temperature:.3f}: {_fit_text(result.pixel_fit)}",
    ]
    if result.event_fit:
        lines += [
            f"temperature of events {calibration.event_temperature:.3f}: {_fit_text(result.event_fit)}; share of the "
            f"training's readouts with a neutrino {calibration.training_prior:.3f}"
        ]
    lines += [
        "",
        f"working point pixels: {_shifts(calibration.pixels)}: over the readouts that have a neutrino, its IoU "
        f"{pixels.neutrino_iou:.4f} ({pixels.unshifted_neutrino_iou:.4f} without shifts), cosmic IoU "
        f"{pixels.cosmic_iou:.4f} ({pixels.unshifted_cosmic_iou:.4f})",
        f"working point selection: {_shifts(calibration.selection)}",
    ]
    passed = looks_like_neutrino(samples, calibration, calibration.selection)
    lines += [f"  more than {FEW_PIXELS} neutrino pixels on every plane: {_shares(passed, cosmic)}"]
    probabilities = probability_at_equal_priors(samples, calibration)
    if probabilities is not None:
        kept, threshold = calibration.selection.keeps(probabilities), calibration.selection.event_probability
        lines += [f"  P(neutrino) at equal priors above {threshold:.9g}: {_shares(kept, cosmic)}"]
        lines += ["", "other thresholds, for evaluate --cut:", *_thresholds(probabilities, cosmic)]
    return "\n".join(lines)


def _thresholds(probabilities: np.ndarray, cosmic: np.ndarray) -> list[str]:
    thresholds = [threshold_for(probabilities[cosmic], share) for share in KEPT_SHARES]
    kept = (_shares(probabilities > each, cosmic) for each in thresholds)
    return [f"  probability>{each!r}: {shares}" for each, shares in zip(thresholds, kept, strict=True)]


def _fit_text(fit: TemperatureFit) -> str:
    return f"mean negative log-likelihood {fit.before:.5f} without, {fit.after:.5f} with it"


def _shifts(point: WorkingPoint) -> str:
    apart = "" if point.joined else ", as if the readout had a neutrino"
    return f"background_shift {point.background_shift:g}, neutrino_shift {point.neutrino_shift:.4g}{apart}"


def _shares(passed: np.ndarray, cosmic: np.ndarray) -> str:
    kept, efficiency = rate(passed[cosmic]), rate(passed[~cosmic])
    return "{:.2%} of cosmic rays only ({:.2%} to {:.2%}), {:.1%} of those with a neutrino".format(*kept, efficiency[0])
