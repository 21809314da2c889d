"""A run's folder: what is in it, and what it records of itself."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from cosmictagger_tf.config import (
    Config,
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    TruthConfig,
    flag_name,
)
from cosmictagger_tf.config.quoting import flag_line
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import locked, make_folder, read_json, replaced_file, tidy, write_json

# Options that a resumed run must keep: another architecture does not fit the weights, and another batch size or
# seed would change the order in which the remaining events are seen. Of the optimizer, what gives its state its shape.
FIXED = {
    "network": {f.name for f in fields(NetworkConfig)} - {"remat", "data_format"},
    "data": {"downsample", "minibatch_size", "producer_image", "producer_label", "first_entry", "max_entries"},
    "execution": {"seed", "precision"},
    "optimizer": {"optimizer", "gradient_accumulation", "ema_momentum", "freeze"},
}
# What run.json has beside the options, and a resumed run must keep: it decides which events are seen, in which order.
FIXED_FACTS = ("events", "events_checksum", "image_shape")
FACT_NAMES = {
    "events_checksum": "the events, by their checksum",
    "validation_checksum": "the events of --aux_file, by their checksum",
    "backend": "KERAS_BACKEND",
}
# Not named where a resumed run changes them: they mean nothing for it.
WITHOUT_MEANING = {"train": {"dry_run", "init_from", "init_new_layers"}}
SECTIONS: dict[type[Config], str] = {
    DataConfig: "data",
    NetworkConfig: "network",
    OptimizerConfig: "optimizer",
    ExecutionConfig: "execution",
    TruthConfig: "truth",
}
AnyConfig = TypeVar("AnyConfig", bound=Config)


class RunFolder:
    """The folder <output_dir>/<run_id> of a training run.

    run.flags      every option as a flagfile: --flagfile=<it> starts the same again
    run.json       configs, versions, command line, git commit
    checkpoints/   see training/checkpoints/store.py
    logs/          TensorBoard: train and validation
    history.csv    one line a record, train and validation
    .lock          locked while a process trains; names it
    """

    def __init__(self, output: OutputConfig):
        self.path = Path(output.output_dir) / output.run_id
        self.record_file = self.path / "run.json"
        self.flagfile = self.path / "run.flags"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.history = self.path / "history.csv"

    def prepare(self):
        """Makes the folder; raises ConfigError where it cannot be written."""
        make_folder(self.path, "output_dir")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps every other process from training in this folder, and clears up after one that was killed.

        The system frees the lock when the process ends, however it ends.

        Raises:
            ConfigError: another process has the lock; the message names it.
        """
        with locked(self.path, "trains in it: wait, or use another --run_id") as alone:
            tidy(self.path, (self.record_file.name, self.flagfile.name, self.history.name), shared=not alone)
            tidy(self.checkpoints, shared=not alone)
            yield

    def record(self) -> dict | None:
        """What the run wrote about itself; None for a new run."""
        try:
            record = read_json(self.record_file)
            if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
                raise ValueError("no record of a run")
            return record
        except FileNotFoundError:
            return None
        except ValueError:
            raise ConfigError(f"{self.record_file}: is broken; move the folder away or use another --run_id") from None

    @property
    def image_shape(self) -> ImageShape | None:
        """The full-resolution shape of the images that it was trained on; None where an older version recorded none."""
        return shape_in(self.record() or {})

    def config(self, kind: type[AnyConfig]) -> AnyConfig:
        """The recorded configuration of one class; raises ConfigError where there is no such run."""
        record = self.record()
        if record is None:
            raise ConfigError(f"{self.path}: no run is there (--output_dir and --run_id name it)")
        return section_of(record, kind)

    def write_record(self, configs: dict[str, Config], more: dict):
        """Writes run.json: the configs by section, the command line and the git commit, and `more`; and run.flags."""
        with replaced_file(self.flagfile) as beside:
            # In the bytes that a command line has: what a file system calls its files need not be UTF-8.
            beside.write_bytes(os.fsencode("\n".join(["# Every option of this run.", *flag_lines(configs), ""])))
        content = {"config": {name: config.to_dict() for name, config in configs.items()}}
        write_json(self.record_file, content | {"command": sys.argv, "git_commit": git_commit()} | more)

    def check_resumable(self, configs: dict[str, Config], facts: dict) -> list[str]:
        """The changes against what the run's last start recorded that are allowed, as "--name: old -> new".

        Args:
            configs: by section.
            facts: what write_record is given beside them, as far as it must be compared.

        Raises:
            ConfigError: options of FIXED, or FIXED_FACTS, differ; every difference is in the message.
        """
        record = (self.record() if any(self.checkpoints.glob("step_*")) else None) or {}
        record = {"backend": record.get("versions", {}).get("backend", facts.get("backend"))} | record
        changes = [
            (name in FIXED.get(section, ()), f"--{name}: {old} -> {new}")
            for section, config in configs.items()
            for name, old, new in _differences(_recorded(record, section, config), config.to_dict())
            if name not in WITHOUT_MEANING.get(section, ())
        ]
        for name, old, new in _differences(record, facts):
            changes.append((name in FIXED_FACTS, f"{FACT_NAMES.get(name, name)}: {old} -> {new}"))
        allowed = [text for fixed, text in changes if not fixed]
        refused = [text for fixed, text in changes if fixed]
        if refused:
            raise ConfigError(
                f"{self.path} was begun with other values that a resumed run must keep ({'; '.join(refused)}): "
                "give the old ones, or another --run_id"
            )
        return allowed


def _recorded(record: dict, section: str, config: Config) -> dict:
    # A section's options as a record has them; those that are younger than the record had their defaults.
    recorded = record.get("config", {}).get(section)
    return json.loads(json.dumps({f.name: f.default for f in fields(config)})) | recorded if recorded else {}


def _differences(old: dict, new: dict) -> Iterator[tuple[str, Any, Any]]:
    # (name, old value, new value) of what is in both and differs, as JSON has it.
    for name, value in json.loads(json.dumps(new)).items():
        if name in old and old[name] != value:
            yield name, old[name], value


def section_of(record: dict, kind: type[AnyConfig]) -> AnyConfig:
    """The configuration of one class in the record of a run; as it is by default where an older version has none."""
    return kind.from_dict(record["config"].get(SECTIONS[kind], {}))


def is_file_of_run(path: Path) -> bool:
    """Whether this is the place of what a run writes of itself: a record of it lies beside, and the name is one of
    RunFolder's, in whatever case, for a file system may take one for the other."""
    own = RunFolder(OutputConfig())
    names = {file.name for file in (own.record_file, own.flagfile, own.history)}
    return path.name.lower() in names and path.with_name(own.record_file.name).exists()


def shape_in(record: dict) -> ImageShape | None:
    """The shape of the images in the record of a run; None where it has none."""
    return ImageShape(*record["image_shape"]) if "image_shape" in record else None


def architecture(network: NetworkConfig) -> dict:
    """The options that make the weights fit or not, as JSON has them."""
    values = {name: value for name, value in network.to_dict().items() if name in FIXED["network"]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def flag_lines(configs: dict[str, Config]) -> list[str]:
    """The configs as the lines of a flagfile, a comment before each section."""
    lines = []
    for section, config in configs.items():
        lines += ["", f"# {section}"]
        for f in fields(config):
            lines.append(flag_line(flag_name(f.name), getattr(config, f.name)))
    return lines


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from, None where it is not in one."""
    checkout = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(checkout), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Installed in an environment within a checkout of something else, it is none of that one's.
    top, _, commit = os.fsdecode(done.stdout).strip().rpartition("\n")
    return commit if done.returncode == 0 and Path(top).resolve() == checkout else None
