"""Sets a process up to compute: device, threads, precision, seed. Called once, before any network is built."""

import logging
import os
from dataclasses import replace
from pathlib import Path

from cosmictagger_tf.config import ExecutionConfig
from cosmictagger_tf.errors import ConfigError

log = logging.getLogger(__name__)

PRECISION_POLICIES = {"float32": "float32", "mixed": "mixed_float16", "bfloat16": "mixed_bfloat16"}


def resolved(config: ExecutionConfig, trains: bool) -> ExecutionConfig:
    """With the precision that `auto` stands for on this machine, which is logged.

    Args:
        trains: whether a network is trained: then float32, and bfloat16 only where it is asked for.
    """
    if config.precision != "auto":
        return config
    precision = "bfloat16" if not trains and multiplies_bfloat16(config.compute_mode) else "float32"
    log.info(f"precision: {precision} (--precision=auto)")
    return replace(config, precision=precision)


def multiplies_bfloat16(compute_mode: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the device has instructions for products of bfloat16, and the backend uses them.

    NVIDIA GPUs have them from compute capability 8.0 on (CUDA C++ Programming Guide, table of arithmetic instructions).
    Processors: Intel's AMX and AVX512-BF16, by way of oneDNN (its developer guide, "Data Types"), which TensorFlow and
    PyTorch use; XLA, which JAX uses, does not always.

    Args:
        compute_mode: see ExecutionConfig.
        cpuinfo: what Linux says of the processor; elsewhere there is none, and float32 is used.
    """
    import keras

    backend = keras.backend.backend()
    if compute_mode != "CPU" and (capability := gpu_capability()):
        return capability >= (8, 0)
    if backend == "jax" or (backend == "tensorflow" and os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0"):
        return False
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split(":")[-1].split() for line in lines if line.startswith("flags")), [])
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(flags)


def gpu_capability() -> tuple[int, int] | None:
    """The compute capability of the first GPU; None where there is none."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        capabilities = [device.compute_capability for device in jax.devices() if device.platform == "gpu"]
        if not capabilities:
            return None
        major, minor = map(int, capabilities[0].split("."))
        return major, minor
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability") if gpus else None


def prepare(config: ExecutionConfig, local_rank: int | None = None):
    """Applies an ExecutionConfig to this process.

    Args:
        local_rank: None, or this process's number among those that share the node's GPUs, one each.

    Raises:
        ConfigError: --compute_mode=GPU on a machine whose TensorFlow sees no GPU.
    """
    import keras

    if config.deterministic and keras.backend.backend() == "jax":
        # Read when JAX first computes.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    # Keras's own defaults, whatever is in the user's keras.json: results must not depend on it.
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(PRECISION_POLICIES[resolved(config, trains=True).precision])
    if keras.backend.backend() == "tensorflow":
        _prepare_tensorflow(config, local_rank)
    elif keras.backend.backend() == "jax":
        _prepare_jax(config)
    elif keras.backend.backend() == "torch":
        _prepare_torch(config)


def _prepare_tensorflow(config, local_rank):
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    # It would copy a function for each of its calls, and optimize each copy (see backend.graph_function).
    tf.config.optimizer.set_experimental_options({"function_optimization": False})
    gpus = tf.config.list_physical_devices("GPU")
    if config.compute_mode == "GPU" and not gpus:
        raise ConfigError(
            "--compute_mode=GPU: TensorFlow sees no GPU here (install the extra: pip install 'cosmictagger_tf[gpu]', "
            "or use --compute_mode=CPU)"
        )
    if config.compute_mode == "CPU" and gpus:
        tf.config.set_visible_devices([], "GPU")
    elif gpus:
        pin_gpu(local_rank)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    # Once TensorFlow has begun to compute, as in a notebook, their numbers can be asked for but not set.
    if config.inter_op_parallelism_threads:
        tf.config.threading.set_inter_op_parallelism_threads(config.inter_op_parallelism_threads)
    if config.intra_op_parallelism_threads:
        tf.config.threading.set_intra_op_parallelism_threads(config.intra_op_parallelism_threads)


def _prepare_jax(config):
    import jax

    if config.compute_mode == "CPU":
        jax.config.update("jax_platforms", "cpu")
    elif config.compute_mode == "GPU" and jax.default_backend() != "gpu":
        raise ConfigError("--compute_mode=GPU: JAX sees no GPU here (pip install 'jax[cuda13]', or --compute_mode=CPU)")


def _prepare_torch(config):
    import torch

    if config.compute_mode == "GPU" and not torch.cuda.is_available():
        raise ConfigError("--compute_mode=GPU: PyTorch sees no GPU here (its CUDA build, or --compute_mode=CPU)")
    if config.compute_mode == "CPU" and torch.cuda.is_available():
        raise ConfigError(
            "--compute_mode=CPU: Keras's PyTorch backend takes the GPU that it sees: CUDA_VISIBLE_DEVICES= hides it"
        )
    torch.use_deterministic_algorithms(config.deterministic)
    if config.inter_op_parallelism_threads:
        torch.set_num_interop_threads(config.inter_op_parallelism_threads)
    if config.intra_op_parallelism_threads:
        torch.set_num_threads(config.intra_op_parallelism_threads)


def compiles(config: ExecutionConfig) -> bool:
    """Whether steps are compiled as a whole: on JAX always, with PyTorch never, on TensorFlow as the options ask.

    Keras does not compile where TensorFlow's operations are deterministic.
    """
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow" or config.deterministic:
        return backend == "jax"
    return bool(accelerators()) if config.xla == "auto" else bool(config.xla)


def accelerators() -> list[str]:
    """The names of the GPUs that this process computes on; empty on a CPU."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    if keras.backend.backend() == "torch":
        import torch

        return [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]


def pin_gpu(local_rank: int | None):
    """Leaves this process one GPU of the node, chosen by its local rank, or with None all; memory grows as needed."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    # Where the launcher has hidden the other ranks' GPUs, there is one left, and the local rank counts on.
    mine = gpus if local_rank is None or not gpus else [gpus[local_rank % len(gpus)]]
    tf.config.set_visible_devices(mine, "GPU")
    for gpu in mine:
        tf.config.experimental.set_memory_growth(gpu, True)


def describe() -> dict:
    """The versions and the machine that a run's record names."""
    import importlib.metadata
    import platform

    import h5py
    import keras
    import numpy

    from cosmictagger_tf import __version__

    versions = {"cosmictagger_tf": __version__, "keras": keras.__version__, "numpy": numpy.__version__}
    versions |= {"h5py": h5py.__version__, "python": platform.python_version(), "backend": keras.backend.backend()}
    if keras.backend.backend() in ("tensorflow", "jax", "torch"):
        versions[keras.backend.backend()] = importlib.metadata.version(keras.backend.backend())
    return {"versions": versions, "machine": platform.platform(), "cpus": os.cpu_count()}
