"""What the networks need and keras.ops has not, for each of Keras's backends."""

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
