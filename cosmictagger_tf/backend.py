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


def transposed_product(x, y):
    """x^T y of matrices [n, k] and [n, m]: [k, m], without a copy of x^T."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.matmul(x, y, transpose_a=True)
    return ops.matmul(ops.transpose(x), y)


def traced_once(function):
    """A pure function of tensors that a graph of TensorFlow's holds once for each signature, and calls.

    Layers of equal shapes then share one traced, differentiated and optimized function, where each would add its
    operations, forward and backward, to the graph. On other backends, and outside a graph, it is the function itself.

    Args:
        function: takes tensors by position and, by name, constants that can be hashed.
    """

    @functools.wraps(function)
    def call(*tensors, **constants):
        if keras.backend.backend() != "tensorflow":
            return function(*tensors, **constants)
        import tensorflow as tf

        if tf.executing_eagerly():
            return function(*tensors, **constants)
        return _graph_function(function, tuple(constants.items()))(*tensors)

    return call


@functools.cache
def _graph_function(function, constants: tuple):
    import tensorflow as tf

    # Calls that are not inlined: the graph passes see the function once.
    return tf.function(
        functools.partial(function, **dict(constants)), autograph=False, experimental_attributes={"_noinline": True}
    )


def leave_out_graph_passes():
    """From now on TensorFlow runs the graphs of this process as they are.

    Its passes over the graph of a sparse network take a third of the time to the first step, and gain it nothing.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


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
