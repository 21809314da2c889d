"""What the networks need and keras.ops has not, for each of Keras's backends."""

import functools

import keras
from keras import ops

# JAX has no 64 bits unless told to.
WIDEST_FLOAT = "float32" if keras.backend.backend() == "jax" else "float64"


def take_rows(x, rows):
    """The rows of x [n, ...] that `rows`, an integer array with none below 0, names; as ops.take(x, rows, axis=0).

    That one first looks, on TensorFlow, for negative numbers: two passes over `rows`, and ten operations in a graph.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.gather(x, rows)
    return ops.take(x, rows, axis=0)


def argmax(x):
    """The first of the greatest along the last axis, an integer; as ops.argmax(x, axis=-1).

    That one first replaces, on TensorFlow, what is -0.0: four passes over x.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.argmax(x, axis=-1, output_type=tf.int32)
    return ops.argmax(x, axis=-1)


def value_of(variable):
    """The value of a Keras variable as a tensor: TensorFlow's custom gradients, and functions, take no variables."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(variable.value)
    return variable.value


def upstream_of(args, upstream):
    """The gradient that ops.custom_gradient passes on: positional or by name, as the backend has it."""
    return args[0] if upstream is None else upstream


def zero_after(x):
    """0, but only when the matrix x is there, and so that no compiler can tell.

    What a backward pass computes anew from the features it would else compute too early: as soon as they are there, or
    once for both passes, and so keep it in memory from the one to the other.
    """
    return ops.minimum(ops.abs(ops.sum(x[:1, :1])), 0)


def transposed_product(x, y):
    """x^T y of matrices [n, k] and [n, m]: [k, m], without a copy of x^T."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.matmul(x, y, transpose_a=True)
    return ops.matmul(ops.transpose(x), y)


def in_graph() -> bool:
    """Whether operations are added to a graph of TensorFlow's now."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def graph_function(function):
    """A function of tensors that a graph of TensorFlow's holds once for each signature, and calls; see in_graph.

    It is traced, differentiated and set up once, however often it is called. On other backends, the function itself.
    """
    return tensorflow_function(function) if keras.backend.backend() == "tensorflow" else function


def tensorflow_function(function, **options):
    """A tf.function whose calls are not inlined: the passes over a graph see it once."""
    import tensorflow as tf

    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True}, **options)


def graph_function_of_any_shape(function):
    """As graph_function, but traced once for all shapes; outside a graph, the function itself."""
    traced = functools.cache(lambda: tensorflow_function(function, reduce_retracing=True))

    @functools.wraps(function)
    def call(*tensors):
        return traced()(*tensors) if in_graph() else function(*tensors)

    return call


# Of TensorFlow's passes over a graph (tf.config.optimizer.set_experimental_options), those that gain a sparse network
# nothing, and take a fifth of the time to its first step. What is not used is still taken out.
LEFT_OUT = """arithmetic_optimization constant_folding debug_stripper dependency_optimization implementation_selector
    layout_optimizer loop_optimization memory_optimization pin_to_host_optimization remapping
    scoped_allocator_optimization shape_optimization"""


def leave_out_graph_passes():
    """From now on TensorFlow does not change the graphs of this process to make them faster, see LEFT_OUT."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options(dict.fromkeys(LEFT_OUT.split(), False))


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

    Above 1e19, where its square is beyond float32, a number counts as not finite.
    """
    tensors = [tensor for tensor in tensors if tensor is not None]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Side by side where they are alike: setting up an operation takes longer than copying a gradient.
        alike: dict = {}
        for tensor in tensors:
            alike.setdefault((tensor.dtype, tuple(tensor.shape)), []).append(tensor)
        stacks = [tf.stack(group) for group in alike.values()]
        return tf.math.is_finite(tf.linalg.global_norm(stacks))
    return ops.isfinite(sum(ops.sum(ops.square(ops.cast(tensor, "float32"))) for tensor in tensors))
