"""What other programs leave around a command: closed streams, Keras's settings, signals that are ignored."""

import itertools
import json
import os
import subprocess
import sys

import pytest

from tests.commands import ROOT, run_module
from tests.data.sound_files import sound_file

# What a process has after the streams that it was started without were closed.
REPORT = """
import os, sys
from cosmictagger_tf.environment import open_standard_streams
open_standard_streams()
number = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
    print("printed", file=stream, flush=True)
assert sys.stdin.read() == "" and number > 2, number
os.write(1, b"raw"); os.write(2, b"raw")
"""


@pytest.mark.parametrize("closed", [c for n in range(4) for c in itertools.combinations((0, 1, 2), n)])
def test_closed_streams_are_opened_on_nothing(tmp_path, closed):
    def close():
        for number in closed:
            os.close(number)

    data = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-c", REPORT, data],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=close,
    )
    assert done.returncode == 0, done.stderr
    assert data.read_bytes() == b""
    assert done.stdout == (b"" if 1 in closed else b"printed\nprinted\nraw")


SETTINGS = """
from cosmictagger_tf.environment import ignore_settings, import_backend
ignore_settings()
import_backend()
import keras, tensorflow
print(keras.backend.backend(), keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())
print(keras.Model.__module__.partition(".")[0], tensorflow.keras.Model.__module__.partition(".")[0])
"""


@pytest.mark.parametrize(
    "settings",
    [
        {"floatx": "float16", "epsilon": 0.1, "backend": "theano", "image_data_format": "channels_first"},
        None,
    ],
)
def test_keras_takes_nothing_from_the_users_settings(tmp_path, settings):
    (tmp_path / ".keras").mkdir()
    file = tmp_path / ".keras/keras.json"
    if settings is not None:
        file.write_text(json.dumps(settings))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    environment |= {"HOME": str(tmp_path), "TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "", "KERAS_MAX_EPOCHS": "0"}
    environment["PYTHONWARNINGS"] = "error"
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.split() == ["tensorflow", "float32", "1e-07", "channels_last", "keras", "keras"]
    assert file.exists() == (settings is not None), "nothing was written either"


def test_a_prepared_process_has_our_settings_where_keras_was_imported_before():
    import keras

    from cosmictagger_tf import execution
    from cosmictagger_tf.config import ExecutionConfig

    keras.config.set_floatx("float64")
    keras.config.set_epsilon(0.1)
    keras.config.set_image_data_format("channels_first")
    execution.prepare(ExecutionConfig())
    assert (keras.config.floatx(), keras.config.epsilon()) == ("float32", 1e-7)
    assert keras.config.image_data_format() == "channels_last"


PRINTING = """
import sys
from cosmictagger_tf.cli.command import run_command
sys.exit(run_command("any", lambda: print("the last line"), (), "", "", [], uses_keras=False))
"""


def test_a_reader_that_is_gone_before_the_last_line_is_no_fault():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", PRINTING], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == 141 and done.stderr == b""


NAMES_PRINTED = """
import sys
from cosmictagger_tf.cli.command import run_command
def main():
    print("written: d\\xfc/lat\\udce9.h5", flush=True)
    print("d\\xfc", file=sys.stderr)
sys.exit(run_command("any", main, (), "", "", [], uses_keras=False))
"""


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"d\\xfc/lat\\udce9.h5"), ("utf-8", "d\xfc/lat\\udce9.h5".encode())]
)
def test_a_terminal_shows_any_name(encoding, shown):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", NAMES_PRINTED], cwd=ROOT, capture_output=True, env=environment)
    assert (done.returncode, done.stdout) == (0, b"written: " + shown + b"\n"), done.stderr


# What only Linux has, and how processes are made elsewhere.
ELSEWHERE = """
import builtins, multiprocessing, os
for name in ("sched_getaffinity", "posix_fadvise", "O_DIRECT", "memfd_create"):
    if hasattr(os, name):
        delattr(os, name)
before = open
def without_proc(file, *args, **kwargs):
    if str(file).startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", file)
    return before(file, *args, **kwargs)
builtins.open = without_proc
if multiprocessing.parent_process() is None:
    multiprocessing.set_start_method("spawn")
"""


def run_elsewhere(folder, name, *flags):
    """A command on a system that has not what only Linux has."""
    (folder / "sitecustomize.py").write_text(ELSEWHERE)
    done = run_module(name, *flags, PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)]))
    assert done.stderr == "", done.stderr
    return done.stdout


def test_events_are_simulated_by_processes_that_are_not_forked(tmp_path):
    output = run_elsewhere(tmp_path, "simulate", "--events=2", "--workers=2", f"--output={tmp_path}/a.h5")
    assert output.endswith("a.h5\n")


@pytest.mark.slow
def test_a_file_is_read_where_the_cores_cannot_be_asked_for(tmp_path):
    path = sound_file(tmp_path / "a.h5")
    output = run_elsewhere(tmp_path, "iotest", f"--file={path}", "--downsample=0", "--read_iterations=1")
    assert "4 entries" in output


def test_a_users_module_in_the_current_folder_takes_no_other_ones_place(tmp_path):
    for name in ("queue", "random", "flags", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of the user')")
    command = [sys.executable, "-OO", "-m", "cosmictagger_tf.simulate", "--events=1", "--output=a.h5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (tmp_path / "a.h5").exists(), done.stderr
