"""What the networks need and keras.ops has not, for each of Keras's backends."""

import functools

import keras
from keras import ops

from cosmictagger_tf.errors import ConfigError


def take_rows(x, rows):
    """The rows of x [n, ...] that `rows`, an integer array with none below 0, names; as ops.take(x, rows, axis=0).

    That one first looks, on TensorFlow, for negative numbers: two passes over `rows`, and ten operations in a graph.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.gather(x, rows)
    return ops.take(x, rows, axis=0)


def check_batch(batch, most: int, what: str):
    """Raises ConfigError where a batch has more events than `what` can number in int32.

    A graph of TensorFlow's of open batch size fails as it runs; where XLA compiles it there is no such check.
    """
    wrong = f"{what} takes at most {most} events of this size at once"
    if isinstance(batch, int):
        if batch > most:
            raise ConfigError(f"--minibatch_size={batch}: {wrong}")
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.debugging.assert_less_equal(batch, most, wrong)


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
