"""Electronic noise per plane and TPC, after deconvolution, with the statistics measured on the sample.

In each plane the noise of the two TPCs was measured away from tracks: how often it is over the threshold, how far, and
how its exceedances follow one another along time and across wires. All six are Gaussian: the excess over the threshold
has a normal tail's distribution. Wires are independent. In the outermost induction layer (plane 0 where x > 0, plane 1
where x < 0) low frequencies survive deconvolution, and the exceedances make dotted streaks along time; elsewhere the
noise is small and short, and pixels over the threshold are single ones.
"""

from functools import cache
from statistics import NormalDist

import numpy as np

from cosmictagger_tf import geometry

# Width of the noise in ADC, [plane][TPC of x < 0, of x > 0].
WIDTH = ((1.57, 2.09), (2.125, 1.55), (1.38, 1.35))
STREAKY = ((0, 1), (1, 0))
# Of a streaky half: the share of variance that is slow, its correlation length in rows, and the fast part's weight of
# the neighbouring rows: together they give the measured correlation 0.72, 0.53, 0.53, 0.46 ... 0.26 at 10 rows.
SLOW_SHARE, SLOW_ROWS, NEIGHBOUR = 0.62, 11.5, 0.14
SLOW_EVERY = 4
# Towards both ends of the wire numbers the noise grows by this share.
EDGE = 0.06
SPAN = tuple(last + 1 - first for first, last in zip(geometry.FIRST_COLUMN, geometry.LAST_COLUMN, strict=True))


@cache
def _profile(plane: int, tpc: int) -> np.ndarray:
    at = np.linspace(-1.0, 1.0, SPAN[plane])
    rise = EDGE if plane != geometry.COLLECTION else 0.0
    return (WIDTH[plane][tpc] * (1 + rise * (at**2 - 0.4))).astype(np.float32)


@cache
def _quantiles() -> np.ndarray:
    levels = 1 << 16
    return np.array([NormalDist().inv_cdf((i + 0.5) / levels) for i in range(levels)], np.float32)


def _normal(rng, shape) -> np.ndarray:
    # Normal deviates in 65536 steps, four times quicker than exact ones; they end at 4.3 sigma, and two are added.
    return _quantiles()[rng.integers(0, 1 << 16, shape, np.uint16)]


def streaky(rng, plane: int, tpc: int) -> np.ndarray:
    """float32 [640, wires in use], ADC: slow noise, drawn every fourth row and interpolated, and fast noise."""
    rows, wires = geometry.ROWS_PER_TPC, SPAN[plane]
    knots = rows // SLOW_EVERY + 1
    keep = np.float32(np.exp(-SLOW_EVERY / SLOW_ROWS))
    slow = _normal(rng, (knots, wires))
    slow[1:] *= np.sqrt(1 - keep**2)
    for i in range(1, knots):
        slow[i] += keep * slow[i - 1]
    total = _normal(rng, (rows + 2, wires))
    fast = np.float32(np.sqrt((1 - SLOW_SHARE) / (1 + 2 * NEIGHBOUR**2)))
    total = fast * (total[1:-1] + np.float32(NEIGHBOUR) * (total[:-2] + total[2:]))
    by_knot = total.reshape(knots - 1, SLOW_EVERY, wires)
    for k in range(SLOW_EVERY):
        a, b = np.float32(1 - k / SLOW_EVERY), np.float32(k / SLOW_EVERY)
        # Interpolation lowers the variance between the knots: scaled back.
        scale = np.float32(np.sqrt(SLOW_SHARE)) / np.sqrt(a * a + b * b + 2 * a * b * keep)
        by_knot[:, k] += (a * scale) * slow[:-1] + (b * scale) * slow[1:]
    total *= _profile(plane, tpc)
    return total


def quiet_over(rng, plane: int, tpc: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(row in the TPC * wires + wire, ADC) of the pixels where independent noise alone exceeds the threshold.

    Only those are drawn: their number is Poisson's, their values the tail of a normal distribution.
    """
    width = _profile(plane, tpc)
    chance = _upper_tail(threshold / width)
    counts = rng.poisson(chance * geometry.ROWS_PER_TPC)
    wire = np.repeat(np.arange(len(width)), counts)
    row = rng.integers(0, geometry.ROWS_PER_TPC, len(wire))
    numbers, first = np.unique(row * len(width) + wire, return_index=True)
    return numbers, tail_above(rng, threshold / width[wire[first]]) * width[wire[first]]


def _upper_tail(u):
    # Mills's ratio as a continued fraction; u is above 2 here.
    x = u + 1 / (u + 2 / (u + 3 / (u + 4 / (u + 5 / (u + 6)))))
    return np.exp(-0.5 * u * u) / np.sqrt(2 * np.pi) / x


def tail_above(rng, u: np.ndarray) -> np.ndarray:
    """Normal deviates, each above its u (Marsaglia's method: a Rayleigh tail, thinned)."""
    value = np.empty(len(u))
    todo = np.arange(len(u))
    while len(todo):
        drawn = np.sqrt(u[todo] ** 2 - 2 * np.log1p(-rng.random(len(todo))))
        good = rng.random(len(todo)) * drawn < u[todo]
        value[todo[good]] = drawn[good]
        todo = todo[~good]
    return value


def width_at(plane: int, tpc: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Noise width (ADC) of pixels, by TPC (0 or 1) and column."""
    both = np.stack([_profile(plane, 0), _profile(plane, 1)])
    return both[tpc, np.clip(column - geometry.FIRST_COLUMN[plane], 0, SPAN[plane] - 1)]
