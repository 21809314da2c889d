"""Mistakes that are reported before Keras and its backend are imported."""

import os
import subprocess
import sys

import pytest

# As if neither was installed: to import one is an error.
WITHOUT = "import runpy, sys; sys.modules['keras'] = sys.modules['tensorflow'] = None; "
WITHOUT += "runpy.run_module(f'cosmictagger_tf.{sys.argv.pop(1)}', run_name='__main__', alter_sys=True)"


def run_without(*words, **environment):
    """A command in a process that cannot import Keras."""
    words = [sys.executable, "-c", WITHOUT, *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment})


FILE, NOWHERE = "--file={file}", "--output_dir={folder}"
MISTAKES = {
    "no file": ("train", ["--file={folder}/a.h5", "--iterations=1"], "{folder}/a.h5: no such file"),
    "no match": ("evaluate", ["--file={folder}/a*.h5", NOWHERE], "--file={folder}/a*.h5: no file matches"),
    "no aux file": ("train", [FILE, "--aux_file={folder}/b.h5", "--iterations=1"], "{folder}/b.h5: no such file"),
    "text": ("predict", ["--file={folder}/text.h5", "--weights=sparse_small"], "{folder}/text.h5: is no HDF5 file"),
    "no product": ("benchmark", [FILE, "--producer_image=x"], "{file}"),
    "no run": ("predict", [FILE, NOWHERE, "--run_id=a"], "{folder}/a: no run is there"),
    "no run to export": ("export", [NOWHERE, "--run_id=a"], "{folder}/a: no run is there"),
    "table over a history": (
        "predict",
        [FILE, "--weights=sparse_small", "--table={folder}/run/history.csv"],
        "--table={folder}/run/history.csv: would replace the run's own files",
    ),
    "table of evaluate over a history": (
        "evaluate",
        [FILE, "--weights=sparse_small", "--table={folder}/run/History.csv"],
        "--table={folder}/run/History.csv: would replace the run's own files",
    ),
    "table under the report": (
        "evaluate",
        [FILE, "--weights=sparse_small", "--report={folder}/run/../r.html", "--table={folder}/r.csv"],
        "--table={folder}/r.csv: is one of the report's files",
    ),
    "no weights": ("display", [FILE, "--weights_location={folder}/a.h5"], "weights {folder}/a.h5: no such file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_not_there_is_named_at_once(mistake, simulated_file, tmp_path):
    command, flags, message = MISTAKES[mistake]
    (tmp_path / "text.h5").write_text("no data")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    places = {"file": simulated_file, "folder": tmp_path}
    done = run_without(command, *(flag.format(**places) for flag in flags))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"cosmictagger_tf.{command}: {message.format(**places)}"), done.stderr
    assert len(done.stderr.splitlines()) == 1


REFUSED = [
    ("jax", "--noxla", "--noxla: KERAS_BACKEND=jax compiles"),
    ("jax", "--intra_op_parallelism_threads=2", "--intra_op_parallelism_threads: KERAS_BACKEND=jax takes"),
    ("torch", "--steps_per_execution=2", "--steps_per_execution: KERAS_BACKEND=torch takes"),
    ("torch", "--profile=1,2", "--profile: KERAS_BACKEND=torch writes"),
    ("torch", "--distributed=true", "--distributed=true: KERAS_BACKEND=torch is of one"),
]


@pytest.mark.parametrize(("backend", "flag", "message"), REFUSED)
def test_what_a_backend_has_not_is_refused_by_name(backend, flag, message, tmp_path):
    pytest.importorskip(backend)
    arguments = ["--synthetic", "--iterations=1", f"--output_dir={tmp_path}", "--run_id=refused", flag]
    done = run_without("train", *arguments, KERAS_BACKEND=backend)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert lines[0].startswith(f"cosmictagger_tf.train: {message}") and not list(tmp_path.iterdir())


def test_displays_without_a_prediction_and_simulations_need_no_keras(simulated_file, tmp_path):
    done = run_without("display", "--nopredict", f"--file={simulated_file}", f"--display_dir={tmp_path}", "--entries=1")
    assert done.returncode == 0 and (tmp_path / "event_1.png").exists(), done.stderr
    done = run_without("simulate", f"--output={tmp_path}/a.h5", "--events=1")
    assert done.returncode == 0, done.stderr
