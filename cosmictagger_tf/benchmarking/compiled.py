"""Functions compiled as the Keras backend does it, and how to wait for them."""

from collections.abc import Callable

import keras


def compiled(function: Callable, xla: bool = False) -> Callable:
    """The function of tensors as a TensorFlow graph (with XLA or not), compiled by jax.jit, or as it is (PyTorch)."""
    if keras.backend.backend() == "torch":
        return function
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, reduce_retracing=True, jit_compile=xla)


def wait(tensor):
    """Returns when the tensor is computed."""
    if keras.backend.backend() == "jax":
        tensor.block_until_ready()
    elif keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    else:
        # On a CPU no copy.
        tensor.numpy()


def peak_device_memory() -> float:
    """GB that tensors have taken at most on the first GPU since the process began."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 1e9
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.max_memory_allocated() / 1e9
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
