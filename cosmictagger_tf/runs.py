"""A run's folder: what is in it, and what it says of itself."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from cosmictagger_tf.config import Config, DataConfig, ExecutionConfig, NetworkConfig, OptimizerConfig, OutputConfig
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import write_json

# Options that a resumed run must keep: another architecture does not fit the weights, and another batch size or
# seed would change the order in which the remaining events are seen.
FIXED = {
    "network": {f.name for f in fields(NetworkConfig)} - {"remat", "data_format"},
    "data": {"downsample", "minibatch_size", "producer_image", "producer_label", "first_entry", "max_entries"},
    "execution": {"seed", "precision"},
    "optimizer": {"optimizer", "gradient_accumulation"},
}
SECTIONS: dict[type[Config], str] = {
    DataConfig: "data",
    NetworkConfig: "network",
    OptimizerConfig: "optimizer",
    ExecutionConfig: "execution",
}
AnyConfig = TypeVar("AnyConfig", bound=Config)


class RunFolder:
    """The folder <output_dir>/<run_id> of a training run.

    run.json       configs, versions, command line, git commit
    checkpoints/   see training/checkpoints.py
    logs/          TensorBoard: train and validation
    history.csv    one line a record, train and validation
    """

    def __init__(self, output: OutputConfig):
        self.path = Path(output.output_dir) / output.run_id
        self.record_file = self.path / "run.json"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.history = self.path / "history.csv"

    def prepare(self):
        """Makes the folder; raises ConfigError where it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigError(f"--output_dir: cannot write to {self.path}: {error.strerror}") from None

    def record(self) -> dict | None:
        """What the run wrote about itself; None for a new run."""
        try:
            return json.loads(self.record_file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise ConfigError(f"{self.record_file}: is broken; move the folder away or use another --run_id") from None

    def config(self, kind: type[AnyConfig]) -> AnyConfig:
        """The recorded configuration of one class; raises ConfigError where there is no such run."""
        record = self.record()
        if record is None:
            raise ConfigError(f"{self.path}: no run is there (--output_dir and --run_id name it)")
        return kind.from_dict(record["config"][SECTIONS[kind]])

    def write_record(self, configs: dict[str, Config], more: dict):
        """Writes run.json: the configs by section, the command line and the git commit, and `more`."""
        content = {"config": {name: config.to_dict() for name, config in configs.items()}}
        write_json(self.record_file, content | {"command": sys.argv, "git_commit": git_commit()} | more)

    def check_resumable(self, configs: dict[str, Config]) -> list[str]:
        """The changes against the recorded configuration that are allowed, as "--name: old -> new".

        Raises:
            ConfigError: options of FIXED differ; every difference is in the message.
        """
        record = self.record()
        allowed: list[str] = []
        refused: list[str] = []
        for section, config in configs.items():
            old = record["config"].get(section, {}) if record else {}
            for name, value in json.loads(json.dumps(config.to_dict())).items():
                if name in old and old[name] != value:
                    where = refused if name in FIXED.get(section, ()) else allowed
                    where.append(f"--{name}: {old[name]} -> {value}")
        if refused:
            raise ConfigError(
                f"{self.path} was begun with other values that a resumed run must keep ({'; '.join(refused)}): "
                "give the old ones, or another --run_id"
            )
        return allowed


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from, None where it is not in one."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
