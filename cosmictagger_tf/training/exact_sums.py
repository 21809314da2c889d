"""Sums that neither order, batch size nor ranks change, on every Keras backend: fixed-point numbers of int32 digits.

JAX has no 64-bit integers unless told to, and float32 forgets units above 2^24. So a number is six digits of 14 bits:
digit i, counted from 0, stands for multiples of 2^(14 i - 42). The highest may have 31 bits: sums are exact up to 2^59.
"""

import numpy as np
from keras import ops

from cosmictagger_tf.backend import WIDEST_FLOAT

BITS, DIGITS = 14, 6
BASE = 1 << BITS
# The digit of units.
UNITS = 3
# Where floats end that are numbers here; beyond are losses of networks that have long diverged.
LARGEST_FLOAT = 2.0**40
# Ratios of counts below it are exact.
LARGEST_COUNT = 1 << 24


def of_integers(values):
    """Digits int32 [DIGITS, ...] of integers [...] from 0 to 2^31 - 1."""
    values = ops.cast(values, "int32")
    nothing, high = ops.zeros_like(values), values // BASE
    return ops.stack([nothing, nothing, nothing, values % BASE, high % BASE, high // BASE])


def of_floats(values):
    """Digits int32 [DIGITS, ...] of float32 [...] from 0 to LARGEST_FLOAT; what is below 2^-42 is cut off."""
    values, digits = ops.cast(values, "float32"), []
    for power in (BITS * (i - UNITS) for i in reversed(range(DIGITS))):
        # Exact: a power of two changes no digit, and the difference has fewer.
        digit = ops.floor(values * 2.0**-power)
        values = values - digit * 2.0**power
        digits.append(ops.cast(digit, "int32"))
    return ops.stack(digits[::-1])


def of_ratios(parts, wholes):
    """Digits int32 [DIGITS, ...] of parts / wholes, cut off below 2^-42; 1 for 0 / 0.

    Args:
        parts, wholes: int32 [...], 0 <= part <= whole < LARGEST_COUNT.
    """
    parts, wholes = ops.where(wholes > 0, parts, 1), ops.maximum(wholes, 1)
    digits = []
    for _ in range(UNITS):
        digit = ops.zeros_like(parts)
        # Long division, half a digit at a time: LARGEST_COUNT leaves room for 7 bits.
        for _ in range(2):
            shifted = parts * (1 << BITS // 2)
            digit = digit * (1 << BITS // 2) + shifted // wholes
            parts = shifted % wholes
        digits.append(digit)
    nothing = ops.zeros_like(parts)
    return ops.stack([*digits[::-1], nothing, nothing, nothing])


def carried(digits):
    """The same numbers [DIGITS, ...] with all digits but the highest below BASE; tensors or NumPy arrays."""
    backend = np if isinstance(digits, np.ndarray) else ops
    result, carry = [], 0
    for i in range(DIGITS - 1):
        digit = digits[i] + carry
        result.append(digit % BASE)
        carry = digit // BASE
    return backend.stack([*result, digits[DIGITS - 1] + carry])


def to_integers(digits: np.ndarray) -> np.ndarray:
    """int64 [...] of digits [DIGITS, ...] without a fraction."""
    return sum(digits[UNITS + i].astype(np.int64) << BITS * i for i in range(DIGITS - UNITS))


def to_floats(digits, backend=np):
    """Floats [...] of digits [DIGITS, ...]; `backend`: numpy, float64, or keras.ops, see WIDEST_FLOAT."""
    digits = backend.cast(digits, WIDEST_FLOAT) if backend is ops else np.asarray(digits, np.float64)
    return sum(digits[i] * 2.0 ** (BITS * (i - UNITS)) for i in reversed(range(DIGITS)))
