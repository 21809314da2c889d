"""The reference's trained PyTorch networks, taken over as runs of this package."""

import logging
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

import numpy as np

from cosmictagger_tf import execution
from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    ImportConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
)
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError, MissingPackageError, raise_unreadable, read_errors
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.reference_weights import assign_reference_weights
from cosmictagger_tf.runs import RunFolder, architecture
from cosmictagger_tf.training.checkpoints.store import CheckpointStore

log = logging.getLogger(__name__)

# A tensor of every network of the reference: what stands before it is the file's prefix.
LANDMARK = "initial_convolution.conv.weight"


def import_run(source: ImportConfig, output: OutputConfig, network: NetworkConfig, data: DataConfig) -> Path:
    """Writes a run folder whose only checkpoint, of step 0, holds the weights of a file.

    Args:
        source: the file.
        output: the run; it must not exist.
        network: the file's architecture.
        data: gives the number of planes (of its files, or SBND's) and is recorded: downsample, producers.

    Returns:
        The run's folder.

    Raises:
        UserError: the file cannot be read safely, or its tensors do not fit; the message names each.
    """
    check_architecture(network)
    folder = RunFolder(output)
    if folder.record() is not None:
        raise ConfigError(f"{folder.path}: a run is there already; choose another --run_id")
    tensors = strip_prefix(read_tensors(Path(source.from_)))
    execution.prepare(ExecutionConfig())
    shape = open_reader(data).shape if data.file else ImageShape()
    model = build_network(network, ImageShape(shape.planes, 2**network.network_depth, 2**network.network_depth))
    assign_reference_weights(model, network, tensors)
    folder.prepare()
    configs = {"data": data, "network": network, "optimizer": OptimizerConfig(), "execution": ExecutionConfig()}
    # Without a file the height and width of the images are not known.
    facts = {"image_shape": astuple(shape)} if data.file else {}
    record = facts | {"imported_from": str(Path(source.from_).resolve()), **execution.describe()}
    with folder.locked():
        CheckpointStore(folder.checkpoints, architecture=architecture(network)).save(0, model, {}, record)
        folder.write_record(configs, record)
    log.info(f"network: {network.conv_mode}, {model.count_params():,} weights, from {len(tensors)} tensors")
    return folder.path


def check_architecture(network: NetworkConfig):
    """Raises ConfigError for options that no PyTorch network of the reference has, or that are not taken over."""
    if network.wiring != "pytorch":
        raise ConfigError(f"--wiring={network.wiring}: the reference's PyTorch networks are --wiring=pytorch")
    if network.conv_mode == "sparse":
        raise ConfigError("--conv_mode=sparse: the reference's sparse networks are not taken over yet")
    if network.conv_mode != "2D" and network.deepest_3d != "bottleneck":
        raise ConfigError(f"--deepest_3d={network.deepest_3d}: the reference's 3D networks are --deepest_3d=bottleneck")
    if network.normalization != "batch":
        raise ConfigError(
            f"--normalization={network.normalization}: of the reference's networks only those with "
            "--normalization=batch are taken over yet"
        )
    for name in ("downsampling", "upsampling"):
        if getattr(network, name) == "convolutional":
            raise ConfigError(f"--{name}=convolutional: the reference's networks with it are not taken over yet")
    if network.conv_mode == "3D" and network.block_concat:
        raise ConfigError("--block_concat: the reference's 3D networks merge the planes with it too: leave it out")
    for name in ("event_head", "vertex_head"):
        if network.conv_mode == "3D" and getattr(network, name):
            raise ConfigError(f"--{name}: of the reference's heads only those of its 2D networks are taken over yet")
    if network.row_exchange:
        raise ConfigError(f"--row_exchange={','.join(network.row_exchange)}: the reference's networks have none")
    if network.submanifold:
        raise ConfigError("--submanifold: the reference's networks compute empty pixels too")
    if network.normalise_charge:
        raise ConfigError("--normalise_charge: the reference's networks take the charge as it is")
    if network.event_joins_pixels:
        raise ConfigError("--event_joins_pixels: the reference's networks tell pixels and event apart")


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name, nothing of it executed.

    Args:
        path: an .npz file, its names with or without `param/` before them; or what torch.save wrote: a state dict,
            or a dict that has one under `state_dict` or `model` (as Lightning's checkpoints do).

    Raises:
        ConfigError: the file is missing, broken, or holds more than tensors.
        MissingPackageError: a PyTorch file, and torch is not installed.
    """
    with read_errors(path):
        if path.with_name(f"{path.name}.index").is_file():
            raise ConfigError(f"--from={path}: is TensorFlow's; only PyTorch's networks are taken over yet")
        if not path.is_file():
            raise ConfigError(f"--from={path}: no such file")
    if path.suffix == ".npz":
        return _read_npz(path)
    content = _read_torch(path)
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {k: v for k, v in content.items() if hasattr(v, "numpy")} if isinstance(content, Mapping) else {}
    if not tensors:
        raise ConfigError(f"--from={path}: holds no named tensors")
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in file.files if name.startswith("param/")] or file.files
            return {name.removeprefix("param/"): file[name] for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise_unreadable(path, error)
        raise ConfigError(f"--from={path}: cannot be read as arrays ({str(error).splitlines()[0]})") from None


def _read_torch(path):
    try:
        import torch
    except ImportError as error:
        raise MissingPackageError("torch", f"reading {path}", "pip install torch", error) from None
    try:
        # torch opens names in UTF-8 only.
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ConfigError(
            f"--from={path}: is broken, or holds Python objects beside tensors, which are not loaded because they can "
            "run code; if you trust it, write its tensors alone: torch.save(torch.load(file, weights_only=False)"
            "['state_dict'], 'weights.pt')"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise_unreadable(path, error)
        raise ConfigError(f"--from={path}: cannot be read by torch ({str(error).splitlines()[0]})") from None


def strip_prefix(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The network's tensors without what a wrapper put before their names (`model.`, `module.`).

    Tensors outside the prefix are the wrapper's own; the log names them. Without a prefix nothing is left out.
    """
    prefixes = [name.removesuffix(LANDMARK) for name in tensors if name.endswith(LANDMARK)]
    prefix = min(prefixes, key=len, default="")
    others = [name for name in tensors if not name.startswith(prefix)]
    if others:
        log.info(f"left out, not of the network under '{prefix}': {', '.join(others)}")
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
