"""Sums of digits equal Python's own integers and fractions, in any order, on the backend in use."""

from fractions import Fraction

import numpy as np
import pytest

from cosmictagger_tf.training import exact_sums


def exact(digits) -> list[Fraction]:
    """What the digits [DIGITS, n] stand for."""
    digits = np.asarray(digits)
    return [sum(Fraction(int(d)) * Fraction(2) ** (14 * i - 42) for i, d in enumerate(row)) for row in digits.T]


def test_integers_are_themselves():
    values = np.array([0, 1, 2**14 - 1, 2**14, 8_000_000, 2**31 - 1], np.int32)
    digits = np.asarray(exact_sums.of_integers(values))
    assert exact(digits) == [Fraction(int(v)) for v in values]
    np.testing.assert_array_equal(exact_sums.to_integers(digits), values)


def test_floats_are_themselves_down_to_the_last_digit():
    values = np.array([0.0, 1.0, 0.1, 3.75e-4, 12345.678, 2.0**39 + 2.0**20], np.float32)
    for value, number in zip(values, exact(exact_sums.of_floats(values)), strict=True):
        assert 0 <= Fraction(float(value)) - number < Fraction(2) ** -42


def test_ratios_are_cut_off_below_the_last_digit():
    rng = np.random.default_rng(3)
    wholes = np.concatenate([rng.integers(1, exact_sums.LARGEST_COUNT, 500), [0, 1, 3, exact_sums.LARGEST_COUNT - 1]])
    parts = (wholes * rng.random(len(wholes))).astype(np.int64)
    parts[-2:] = wholes[-2:]
    ratios = exact(exact_sums.of_ratios(parts.astype(np.int32), wholes.astype(np.int32)))
    for part, whole, value in zip(parts, wholes, ratios, strict=True):
        expected = Fraction(int(part), int(whole)) if whole else Fraction(1)
        assert 0 <= expected - value < Fraction(2) ** -42


@pytest.mark.parametrize("backend", [np.asarray, exact_sums.ops.convert_to_tensor], ids=["numpy", "tensor"])
def test_carrying_changes_no_sum_and_neither_does_the_order(backend):
    rng = np.random.default_rng(4)
    values = rng.integers(0, 8_000_000, (3000, 5)).astype(np.int32)
    digits = np.asarray(exact_sums.of_integers(values))
    at_once = np.asarray(exact_sums.carried(backend(digits.sum(axis=1, dtype=np.int32))))
    assert exact(at_once) == [Fraction(int(n)) for n in values.astype(np.int64).sum(axis=0)]
    assert at_once[:-1].max() < exact_sums.BASE
    total = backend(np.zeros_like(at_once))
    for part in np.split(digits[:, rng.permutation(3000)], 30, axis=1):
        total = exact_sums.carried(total + backend(part.sum(axis=1, dtype=np.int32)))
    np.testing.assert_array_equal(np.asarray(total), at_once)
    np.testing.assert_array_equal(exact_sums.to_floats(at_once), exact_sums.to_integers(at_once))
