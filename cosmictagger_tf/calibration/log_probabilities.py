"""The logarithms of calibrated probabilities, on the host or on the device: see networks/joined_pixels.py.

`backend` is numpy for arrays (float64), keras.ops for tensors (float32).
"""

from typing import Any

import numpy as np

from cosmictagger_tf.networks.joined_pixels import log_has_neutrino, log_pixels


def calibrated_log_has_neutrino(event_logits, temperature: float, offsets: np.ndarray, backend: Any = np) -> tuple:
    """ln P(the readout has a neutrino), and ln P(it has none): two of [readouts].

    Args:
        event_logits: [readouts, classes of a readout].
        temperature: see temperature.py.
        offsets: float [classes of a readout], see prior_offsets.
        backend: see above.
    """
    logits = _floats(event_logits, backend) / temperature
    shifts = offsets if backend is np else backend.convert_to_tensor(offsets, "float32")
    return log_has_neutrino(logits + shifts, backend)


def calibrated_log_pixels(logits, temperature: float, has: tuple | None = None, backend: Any = np):
    """The logarithms of the probabilities of each pixel's classes, the same shape as the logits.

    Args:
        logits: [..., classes of a pixel].
        temperature: see temperature.py.
        has: what calibrated_log_has_neutrino gives, to be broadcast to [...]; None: where the readout has a neutrino.
        backend: see above.
    """
    return log_pixels(_floats(logits, backend) / temperature, has, backend)


def _floats(values, backend):
    return np.asarray(values, np.float64) if backend is np else backend.cast(values, "float32")
