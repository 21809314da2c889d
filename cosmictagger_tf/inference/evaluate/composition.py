"""What the readouts with cosmic rays only that a cut keeps are made of: which primaries made their neutrino pixels."""

from collections.abc import Sequence

import numpy as np

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.simulation.cosmics import PRIMARIES


def primary_counts(
    called: Sequence[tuple[np.ndarray, np.ndarray]], primaries: Sequence[PlanePixels], downsample: int
) -> np.ndarray:
    """How many of the pixels that were called neutrino each kind of cosmic primary made.

    Args:
        called: a plane each, rows and columns of these pixels at the network's resolution.
        primaries: a plane each, the pixels of the product that tells, in which values number PRIMARIES.
        downsample: of the network.

    Returns:
        int64 [PRIMARIES], of full-resolution pixels; the first, those of no primary, stays 0: they are not in the
        product.
    """
    counts = np.zeros(len(PRIMARIES), np.int64)
    for (rows, columns), plane in zip(called, primaries, strict=True):
        blocks = _numbers(rows, columns)
        inside = np.isin(_numbers(plane.rows >> downsample, plane.columns >> downsample), blocks)
        numbers = plane.values[inside].astype(np.int64)
        counts += np.bincount(numbers[(numbers > 0) & (numbers < len(counts))], minlength=len(counts))
    return counts


def made_of(counts: np.ndarray, kept: np.ndarray) -> dict[str, int]:
    """The number of kept readouts by the primary that made most of their pixels; "none" where none made any.

    Args:
        counts: int64 [events, PRIMARIES], see primary_counts.
        kept: bool [events], those with cosmic rays only that pass.
    """
    most = np.bincount(np.argmax(counts[kept], axis=1), minlength=len(PRIMARIES))
    return {name: int(number) for name, number in zip(PRIMARIES, most, strict=True)}


def _numbers(rows, columns) -> np.ndarray:
    return (np.asarray(rows, np.int64) << 32) + np.asarray(columns, np.int64)
