"""What the ranks of a job compare before they work: options, versions and data, each from its own node."""

import logging
import os
from pathlib import Path

import keras

from cosmictagger_tf import execution
from cosmictagger_tf.config import Config, flag_name
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.training.distributed.ranks import Ranks

log = logging.getLogger(__name__)

# Options that may differ: paths on a node, whose content is compared, and by which means a rank computes the same.
OWN = {"file", "aux_file", "output_dir", "output", "report", "table", "init_from", "weights_location"}
OWN |= {"compute_mode", "reader", "inter_op_parallelism_threads", "intra_op_parallelism_threads"}
# Environment variables that change what a network computes.
VARIABLES = ("NVIDIA_TF32_OVERRIDE", "TF_ENABLE_ONEDNN_OPTS")


def check_options(ranks: Ranks, *configs: Config):
    """Raises ConfigError where ranks have other options, versions or precision than the others."""
    if ranks.size == 1:
        return
    options = {f"--{flag_name(k)}": v for config in configs for k, v in config.to_dict().items() if k not in OWN}
    versions = {f"the version of {name}": value for name, value in execution.describe()["versions"].items()}
    versions["the backend"] = versions.pop("the version of backend")
    settings = {"floatx of keras.json": keras.config.floatx()}
    settings |= {f"the environment variable {name}": os.environ.get(name, "not set") for name in VARIABLES}
    ranks.same(options | versions | settings)


def check_data(ranks: Ranks, flag: str, reader: Reader):
    """Raises ConfigError where ranks have other events than the others.

    Each reads the ids and extents of all its events: of thousands of files less work than to open them.

    Args:
        flag: that named the files.
        reader: of the data set, open.
    """
    if ranks.size == 1:
        return
    values: dict[str, int | str] = {f"number of files of --{flag}": len(reader.files)}
    for number, (path, size) in enumerate(zip(reader.files, reader.sizes, strict=True), 1):
        values[f"bytes of --{flag} {number}, {Path(path).name}"] = size
    values[f"number of events of --{flag}"] = len(reader)
    values[f"events of --{flag}, by their checksum"] = reader.checksum()
    ranks.same(values)


def log_devices(ranks: Ranks):
    """Reports where some ranks compute on other devices than the others: all wait for the slowest."""
    holders: dict[str, list[str]] = {}
    for rank, names in enumerate(ranks.gather(execution.accelerators())):
        holders.setdefault(", ".join(names) or "CPU", []).append(str(rank))
    if len(holders) > 1:
        shown = "; ".join(f"{device}: rank {', '.join(some)}" for device, some in holders.items())
        log.info(f"the ranks compute on different devices, and wait for the slowest ({shown})")
