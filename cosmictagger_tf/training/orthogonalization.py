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

    Matrices of one shape go through it as one batch. The Gram matrix is that of what the last repetition has
    left, which forgives products in half precision or TF32; a polynomial of the first one alone would not.

    Args:
        matrices: [rows, columns] each, float32.

    Returns:
        The same shapes.
    """
    tall = [ops.transpose(m) if m.shape[0] < m.shape[1] else m for m in matrices]
    orthogonal: list = [None] * len(tall)
    for shape in sorted({tuple(m.shape) for m in tall}):
        chosen = [index for index, m in enumerate(tall) if tuple(m.shape) == shape]
        results = orthogonalize_stack(ops.stack([tall[index] for index in chosen]))
        for index, result in zip(chosen, ops.unstack(results, len(chosen)), strict=True):
            orthogonal[index] = result
    return [ops.transpose(m) if m.shape != matrix.shape else m for m, matrix in zip(orthogonal, matrices, strict=True)]


def orthogonalize_stack(matrices):
    """`orthogonalize` for [n, rows, columns] with no more columns than rows."""
    first, third, fifth = POLYNOMIAL
    matrices = matrices / (ops.norm(matrices, axis=(1, 2), keepdims=True) + 1e-7)
    for _ in range(REPETITIONS):
        gram = ops.matmul(ops.transpose(matrices, (0, 2, 1)), matrices)
        matrices = first * matrices + ops.matmul(matrices, third * gram + fifth * ops.matmul(gram, gram))
    return matrices
