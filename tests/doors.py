"""Runs a door in a process of its own, as a user does."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# A network small enough that its step compiles in seconds.
TINY = [
    "--n_initial_filters=2",
    "--network_depth=2",
    "--blocks_per_layer=1",
    "--blocks_deepest_layer=1",
    "--blocks_final=1",
    "--bottleneck_deepest=8",
    "--downsample=4",
]


def run_door(name: str, *arguments, check: bool = True, timeout: float = 600, **environment):
    """A finished `python -m cosmictagger_tf.<name> <arguments>`, its output as text; check: it must exit with 0."""
    command = [sys.executable, "-m", f"cosmictagger_tf.{name}", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=timeout, env={**os.environ, **environment}
    )
    if check:
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def checkpoint_arrays(run: Path, step: int) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, weights and state, by name; `run` is the run's folder."""
    checkpoint, found = run / f"checkpoints/step_{step:08d}", {}
    with np.load(checkpoint / "state.npz") as arrays:
        found |= {name: arrays[name] for name in arrays.files}
    with h5py.File(checkpoint / "network.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[...]}) if hasattr(item, "shape") else None)
    return found


def refusal(name: str, *arguments) -> str:
    """The one line that a door says of a user's mistake; asserts that it is one, and the exit status."""
    done = run_door(name, *arguments, check=False)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"cosmictagger_tf.{name}: ")
    return lines[0]
