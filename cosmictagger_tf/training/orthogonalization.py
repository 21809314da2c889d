"""Matrices made orthogonal, as the optimizer Muon makes its updates: many at a time, by matrix products alone."""

import math

from keras import ops

# K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
POLYNOMIAL, REPETITIONS = (3.4445, -4.7750, 2.0315), 5
# Kernels with fewer rows or columns, as a last layer's with a column for each label, are no matrices to Muon.
SMALLEST_SIDE = 8


def is_matrix(shape) -> bool:
    """Whether a variable of the shape is a kernel to orthogonalize: as a matrix, of 8 rows and columns or more."""
    return len(shape) > 1 and min(math.prod(shape[:-1]), shape[-1]) >= SMALLEST_SIDE


def as_matrix(kernel):
    """A kernel as the matrix [taps * channels in, channels out]."""
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


def orthogonalize(matrices: list) -> list:
    """The matrices, each with its singular values brought near 1.

    A singular value s of a matrix divided by its Frobenius norm becomes p(p(p(p(p(s))))), p(s) = 3.4445 s - 4.7750 s^3
    + 2.0315 s^5: 0.68 to 1.21 where s is over 0.002, less where it is smaller.

    A polynomial odd in X is X times one of its Gram matrix X'X, so the repetitions need that square alone, and
    the squares of one size go through them as one batch.

    Args:
        matrices: [rows, columns] each, float32.

    Returns:
        The same shapes.
    """
    tall = [ops.transpose(m) if m.shape[0] < m.shape[1] else m for m in matrices]
    tall = [m / (ops.norm(m) + 1e-7) for m in tall]
    found: list = [None] * len(tall)
    for columns in sorted({m.shape[1] for m in tall}):
        chosen = [index for index, m in enumerate(tall) if m.shape[1] == columns]
        factors = orthogonalizing_factors(ops.stack([ops.matmul(ops.transpose(tall[i]), tall[i]) for i in chosen]))
        for index, factor in zip(chosen, ops.unstack(factors, len(chosen)), strict=True):
            found[index] = ops.matmul(tall[index], factor)
    return [ops.transpose(m) if m.shape != matrix.shape else m for m, matrix in zip(found, matrices, strict=True)]


def orthogonalizing_factors(gram):
    """For each Gram matrix X'X, the symmetric F with which X F is orthogonal, nearly.

    Args:
        gram: [n, columns, columns] float32, with eigenvalues of at most 1.
    """
    first, third, fifth = POLYNOMIAL
    identity = ops.eye(gram.shape[-1])
    factors = identity
    for _ in range(REPETITIONS):
        factor = first * identity + third * gram + fifth * ops.matmul(gram, gram)
        gram, factors = ops.matmul(factor, ops.matmul(gram, factor)), ops.matmul(factors, factor)
    return factors
