"""Functions compiled as the Keras backend does it, and the device that they run on."""

from collections.abc import Callable

import keras


def backend() -> str:
    """Keras's backend: "tensorflow", "jax" or another."""
    return keras.backend.backend()


def compiled(function: Callable, xla: bool = False) -> Callable:
    """The function of tensors as a TensorFlow graph (with XLA or not) or compiled by jax.jit, always with XLA."""
    if backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, reduce_retracing=True, jit_compile=xla)


def wait(tensor):
    """Returns the tensor when it is computed."""
    if backend() == "jax":
        return tensor.block_until_ready()
    # On a CPU no copy.
    tensor.numpy()
    return tensor


def accelerators() -> list[str]:
    """The names of the GPUs that the backend computes on; empty on a CPU."""
    if backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]


def peak_device_memory() -> float:
    """GB that tensors have taken at most on the first GPU since the process began."""
    if backend() == "jax":
        import jax

        return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 1e9
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
