"""Matrices made orthogonal, as the optimizer Muon makes its updates: many at a time, by matrix products alone."""

import math

from keras import ops

from cosmictagger_tf.backend import graph_function_of_any_shape

# K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
POLYNOMIAL, REPETITIONS = (3.4445, -4.7750, 2.0315), 5
# Kernels with fewer rows or columns, as a last layer's with a column for each label, are no matrices to Muon.
SMALLEST_SIDE = 8


def matrix_shape(shape) -> tuple[int, int]:
    """That of a kernel as the matrix [taps * channels in, channels out]."""
    return math.prod(shape[:-1]), shape[-1]


def is_matrix(shape) -> bool:
    """Whether a variable of the shape is a kernel to orthogonalize: as a matrix, of 8 rows and columns or more."""
    return len(shape) > 1 and min(matrix_shape(shape)) >= SMALLEST_SIDE


def orthogonalize(matrices):
    """Matrices, each with its singular values brought near 1.

    A singular value s of a matrix divided by its Frobenius norm becomes p(p(p(p(p(s))))), p(s) = 3.4445 s - 4.7750 s^3
    + 2.0315 s^5: 0.68 to 1.21 where s is over 0.002, less where it is smaller.

    The Gram matrix is that of what the last repetition has left, which forgives products in half precision or TF32; a
    polynomial of the first one alone would not.

    Args:
        matrices: float32 [n, rows, columns].

    Returns:
        The same shape.
    """
    if matrices.shape[1] < matrices.shape[2]:
        return ops.transpose(orthogonalize_tall(ops.transpose(matrices, (0, 2, 1))), (0, 2, 1))
    return orthogonalize_tall(matrices)


@graph_function_of_any_shape
def orthogonalize_tall(matrices):
    """`orthogonalize` for matrices with no more columns than rows."""
    first, third, fifth = POLYNOMIAL
    matrices = matrices / (ops.norm(matrices, axis=(1, 2), keepdims=True) + 1e-7)
    for _ in range(REPETITIONS):
        gram = ops.matmul(ops.transpose(matrices, (0, 2, 1)), matrices)
        matrices = first * matrices + ops.matmul(matrices, third * gram + fifth * ops.matmul(gram, gram))
    return matrices
