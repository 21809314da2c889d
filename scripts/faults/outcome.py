"""What a run leaves behind, in a form that can be compared bit for bit."""

import csv
import json
from pathlib import Path

import numpy as np

from tests.commands import checkpoint_arrays

# Columns of history.csv on how fast the machine was.
SPEED = {"images_per_second", "waiting", "exchanging"}


def outcome(run: Path, step: int) -> dict:
    """Weights, state and records of a finished run, by name: arrays, and JSON values.

    Args:
        run: the run's folder.
        step: of the checkpoint to look at.
    """
    content: dict = {**checkpoint_arrays(run, step)}
    with open(run / "history.csv", newline="") as file:
        content["history.csv"] = [{k: v for k, v in line.items() if k not in SPEED} for line in csv.DictReader(file)]
    best = run / "checkpoints/best.json"
    content["best.json"] = json.loads(best.read_text()) if best.exists() else None
    content["checkpoints"] = sorted(path.name for path in (run / "checkpoints").iterdir())
    return content


def differences(one: dict, other: dict) -> list[str]:
    """The names of what differs, in a single bit, between two outcomes."""
    names = [name for name in one.keys() | other.keys() if name not in one or name not in other]
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        same = a.dtype == b.dtype and a.tobytes() == b.tobytes() if isinstance(a, np.ndarray) else a == b
        if not same:
            names.append(name)
    return sorted(names)
