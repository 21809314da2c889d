"""Runs a command in another process."""

import io
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# A network with one block of each kind, small enough that its step is traced in seconds.
TINY = [
    "--n_initial_filters=2",
    "--network_depth=1",
    "--blocks_per_layer=1",
    "--blocks_deepest_layer=1",
    "--blocks_final=1",
    "--bottleneck_deepest=8",
    "--downsample=4",
]

# Importing TensorFlow takes longer than most of what the tests let a command do: it is forked from a process that has
# imported it, and done nothing with it.
PREPARED = multiprocessing.get_context("forkserver")
PREPARED.set_forkserver_preload(["tensorflow", "keras", "h5py", "cosmictagger_tf.training.trainer", __name__])


def run_module(name: str, *arguments, check=True, timeout=600.0, prepared=True, **environment):
    """A finished `python -m cosmictagger_tf.<name> <arguments>`, its output as text.

    Args:
        check: it must exit with 0.
        timeout: seconds.
        prepared: forked. Else, and where `environment` names variables, which TensorFlow may read as it is imported,
            it begins where a user's command does.
    """
    command = [sys.executable, "-m", f"cosmictagger_tf.{name}", *map(str, arguments)]
    if environment or not prepared:
        environment = {**os.environ, **environment}
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout, env=environment)
    else:
        done = _forked(name, command, timeout)
    if check:
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def _forked(name, command, timeout) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, stream) for stream in ("stdout", "stderr")]
        process = PREPARED.Process(target=_become_command, args=(name, command[3:], streams))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, process.exitcode, *(stream.read_text() for stream in streams))


def _become_command(name, arguments, streams):
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(ROOT)
    sys.argv[1:] = arguments
    runpy.run_module(f"cosmictagger_tf.{name}", run_name="__main__", alter_sys=True)


def checkpoint_arrays(run: Path, step: int) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, weights and state, by name; `run` is the run's folder."""
    checkpoint = run / f"checkpoints/step_{step:08d}"
    with np.load(checkpoint / "state.npz") as arrays:
        return hdf5_arrays(checkpoint / "network.weights.h5") | {name: arrays[name] for name in arrays.files}


def hdf5_arrays(path) -> dict[str, np.ndarray]:
    """Every data set of an HDF5 file, by name."""
    content = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: content.update({name: item[...]}) if hasattr(item, "shape") else None)
    return content


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self):
        return True


def refusal(name: str, *arguments) -> str:
    """The one line that a command says of a user's mistake; asserts that it is one, and the exit status."""
    done = run_module(name, *arguments, check=False)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"cosmictagger_tf.{name}: ")
    return lines[0]
