"""One decision for a readout and its pixels, as logarithms: exact where probabilities are 0 or 1.

With P = P(the readout has a neutrino) and p the probabilities of a pixel's classes where it has one:

    ln P(neutrino) = ln P + ln p_neutrino
    ln P(class)    = ln(1 - P p_neutrino) + ln p_class - ln(1 - p_neutrino)         for background and cosmic

`backend` is numpy for arrays, keras.ops for tensors.
"""

from typing import Any

import numpy as np

from cosmictagger_tf.detector import BACKGROUND, COSMIC, COSMIC_ONLY, NEUTRINO, NEUTRINO_KINDS


def log_has_neutrino(event_logits, backend: Any = np) -> tuple:
    """ln P(the readout has a neutrino), and ln P(it has none): two of [...].

    Args:
        event_logits: float [..., classes of a readout].
        backend: see above.
    """
    classes = [event_logits[..., c] for c in range(event_logits.shape[-1])]
    kinds = [classes[kind] for kind in NEUTRINO_KINDS]
    whole = _log_sum(classes, backend)
    return _log_sum(kinds, backend) - whole, classes[COSMIC_ONLY] - whole


def log_pixels(logits, has: tuple | None = None, backend: Any = np):
    """The logarithms of the probabilities of each pixel's classes, the same shape as the logits.

    Args:
        logits: float [..., classes of a pixel], of a readout that has a neutrino.
        has: what log_has_neutrino gives, to be broadcast to [...]; None: the readout has a neutrino.
        backend: see above.
    """
    background, cosmic, neutrino = (logits[..., c] for c in (BACKGROUND, COSMIC, NEUTRINO))
    whole, others = (_log_sum(those, backend) for those in ([background, cosmic, neutrino], [background, cosmic]))
    log_neutrino, log_rest = neutrino - whole, others - whole
    if has is not None:
        log_neutrino, log_rest = log_neutrino + has[0], backend.logaddexp(log_rest + has[0], has[1])
    logs = {BACKGROUND: background - others + log_rest, COSMIC: cosmic - others + log_rest, NEUTRINO: log_neutrino}
    return backend.stack([logs[c] for c in sorted(logs)], axis=-1)


def _log_sum(logs: list, backend):
    # ln of the sum of what the logarithms are of.
    total = logs[0]
    for each in logs[1:]:
        total = backend.logaddexp(total, each)
    return total
