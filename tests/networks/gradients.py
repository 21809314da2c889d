"""Gradients against central differences."""

import numpy as np
import pytest
import tensorflow as tf

RNG = np.random.default_rng(0)


def check_gradients(function, *arguments, step=1e-6):
    """Every argument's gradient of a random projection of function(*arguments), against central differences."""
    arguments = [tf.constant(a, tf.float64) for a in arguments]
    direction = RNG.normal(size=function(*arguments).shape)
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        projected = tf.reduce_sum(function(*arguments) * direction)
    for i, gradient in enumerate(tape.gradient(projected, arguments)):
        for index in [tuple(RNG.integers(0, n) for n in gradient.shape) for _ in range(40)]:
            shifted = []
            for sign in (1, -1):
                moved = [a.numpy() for a in arguments]
                moved[i][index] += sign * step
                shifted.append(np.sum(function(*map(tf.constant, moved)).numpy() * direction))
            assert gradient[index].numpy() == pytest.approx((shifted[0] - shifted[1]) / (2 * step), abs=1e-7, rel=1e-6)
