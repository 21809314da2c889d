"""Gives every kind of bad file to train, evaluate and iotest: each must end with status 2 and the one line for it.

python -m scripts.faults.files [--every=1]

All in one process, so that TensorFlow is imported once. Prints a table, and exits with 1 where a command differs.
"""

import argparse
import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

from scripts.faults.kills import SMALL
from tests.data.bad_files import FAULTS
from tests.data.sound_files import sound_file

COMMANDS = ("train", "evaluate", "iotest")


def call_command(name: str, *flags) -> tuple[int, str, str]:
    """Runs a command in this process; returns its status and what it printed, output and errors."""
    import importlib

    from cosmictagger_tf.cli.command import run_command

    command = importlib.import_module(f"cosmictagger_tf.{name}")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        argv = [str(flag) for flag in flags]
        takes = {"train": "chosen", "evaluate": "explicit"}.get(name, "")
        status = run_command(name, command.main, command.GROUPS, "", "", argv, takes=takes)
    return status, out.getvalue(), err.getvalue()


def trained_run(folder: Path) -> Path:
    """A run of one step on a sound file, for evaluate; returns that file."""
    path = sound_file(folder / "sound.h5")
    status, _, err = call_command("train", *SMALL, f"--file={path}", f"--output_dir={folder}", "--iterations=1")
    assert status == 0, err
    return path


def flags_of(command: str, folder: Path, run: str) -> list[str]:
    """The flags that a command wants beside --file; the training of `run` is its first."""
    if command == "train":
        return [*SMALL, f"--output_dir={folder}", f"--run_id={run}", "--iterations=4", "--minibatch_size=4"]
    if command == "evaluate":
        return [f"--output_dir={folder}", "--noxla", "--nohtml", "--minibatch_size=4"]
    return ["--downsample=0", "--minibatch_size=4", "--read_iterations=2"]


def campaign(folder: Path, kinds: list[str]) -> dict[str, list[str]]:
    """Gives files of these kinds to the commands; returns, by command, what went wrong."""
    trained_run(folder)
    wrong: dict[str, list[str]] = {command: [] for command in COMMANDS}
    for number, kind in enumerate(kinds):
        break_it, expected = FAULTS[kind]
        path = sound_file(folder / f"bad{number}.h5")
        break_it(path)
        for command in COMMANDS:
            status, _, err = call_command(command, *flags_of(command, folder, f"run{number}"), f"--file={path}")
            lines = err.splitlines()
            matches = re.match(re.escape(f"cosmictagger_tf.{command}: {path}") + f"({expected})", err)
            if status != 2 or len(lines) != 1 or not matches:
                wrong[command].append(f"{kind}: {status}: {err}")
                print(f"{command}, {wrong[command][-1]}", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take one of so many kinds")
    options = parser.parse_args()
    kinds = list(FAULTS)[:: options.every]
    with tempfile.TemporaryDirectory(prefix="files") as folder:
        wrong = campaign(Path(folder), kinds)
    print("| command | kinds of bad files | one line, status 2 |\n|---|---|---|")
    for command, problems in wrong.items():
        print(f"| {command} | {len(kinds)} | {len(kinds) - len(problems)} |")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
