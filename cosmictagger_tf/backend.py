"""What the networks need and keras.ops has not, for each of Keras's backends."""

import functools

import keras
from keras import ops


def take_rows(x, rows):
    """The rows of x [n, ...] that `rows`, an integer array with none below 0, names; as ops.take(x, rows, axis=0).

    That one first looks, on TensorFlow, for negative numbers: two passes over `rows`, and ten operations in a graph.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.gather(x, rows)
    return ops.take(x, rows, axis=0)


def assert_at_most(x, most: int, message: str):
    """Lets a graph of TensorFlow's fail when it runs where an integer tensor exceeds `most`; XLA has no such checks."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.debugging.assert_less_equal(x, most, message)


@functools.cache
def convolves_channels_first() -> bool:
    """Whether this backend has convolutions of [n, channels, height, width] here without XLA.

    TensorFlow has them on GPUs, and on CPUs by oneDNN alone, which it uses unasked only where the processor has
    AVX512_VNNI or better (its release notes, 2.9; TF_ENABLE_ONEDNN_OPTS=1 asks for it). So one is tried.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    try:
        tf.nn.conv2d(tf.zeros((1, 1, 1, 1)), tf.zeros((1, 1, 1, 1)), strides=1, padding="SAME", data_format="NCHW")
    except tf.errors.UnimplementedError:
        return False
    return True


def all_finite(tensors: list):
    """Whether every number of float tensors is finite: bool []; None stands for no tensor.

    One operation a tensor on TensorFlow. Above 1e19, where its square is beyond float32, a number counts as not finite.
    """
    tensors = [tensor for tensor in tensors if tensor is not None]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.math.is_finite(tf.linalg.global_norm(tensors))
    return ops.isfinite(sum(ops.sum(ops.square(ops.cast(tensor, "float32"))) for tensor in tensors))
