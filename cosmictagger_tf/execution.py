"""Sets a process up to compute: device, threads, precision, seed. Called once, before any network is built."""

import os

from cosmictagger_tf.config import ExecutionConfig
from cosmictagger_tf.errors import ConfigError

PRECISION_POLICIES = {"float32": "float32", "mixed": "mixed_float16", "bfloat16": "mixed_bfloat16"}


def prepare(config: ExecutionConfig):
    """Applies an ExecutionConfig to this process.

    Raises:
        ConfigError: --compute_mode=GPU on a machine whose TensorFlow sees no GPU.
    """
    import keras

    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(PRECISION_POLICIES[config.precision])
    if keras.backend.backend() == "tensorflow":
        _prepare_tensorflow(config)


def _prepare_tensorflow(config):
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    gpus = tf.config.list_physical_devices("GPU")
    if config.compute_mode == "GPU" and not gpus:
        raise ConfigError(
            "--compute_mode=GPU: TensorFlow sees no GPU here (install the extra: pip install 'cosmictagger_tf[gpu]', "
            "or use --compute_mode=CPU)"
        )
    if config.compute_mode == "CPU" and gpus:
        tf.config.set_visible_devices([], "GPU")
    elif gpus:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.threading.set_inter_op_parallelism_threads(config.inter_op_parallelism_threads)
    tf.config.threading.set_intra_op_parallelism_threads(config.intra_op_parallelism_threads)


def describe() -> dict:
    """The versions and the machine that a run's record names."""
    import platform

    import h5py
    import keras
    import numpy

    from cosmictagger_tf import __version__

    versions = {"cosmictagger_tf": __version__, "keras": keras.__version__, "numpy": numpy.__version__}
    versions |= {"h5py": h5py.__version__, "python": platform.python_version(), "backend": keras.backend.backend()}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        versions["tensorflow"] = tf.__version__
    return {"versions": versions, "machine": platform.platform(), "cpus": os.cpu_count()}
