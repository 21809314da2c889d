"""Short versions of the commands that docs/faults.md shows."""

import importlib.util
import subprocess
import sys

import pytest

from scripts.faults.fuzz import campaign, damaged, structures
from tests.commands import ROOT
from tests.data.sound_files import sound_file


def run_command(name: str, *arguments) -> str:
    """The output of a command of this folder, which must exit with 0."""
    command = [sys.executable, "-m", f"scripts.faults.{name}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=550)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_damaged_files_are_read_or_refused(tmp_path):
    sources = [sound_file(tmp_path / "sound.h5").read_bytes()]
    outcomes, failures, memory = campaign(sources, range(300), seed=7)
    assert failures == [] and outcomes["read"] > 30 and outcomes["refused"] > 100, outcomes
    assert memory < 1 << 30


def test_the_fuzzer_notices(tmp_path, monkeypatch):
    """A reader that dies, hangs or raises something else is a failure: the campaign can fail."""
    import os
    import time

    from scripts.faults import fuzz

    deeds = {0: lambda: os.abort(), 1: lambda: time.sleep(60), 2: lambda: "ValueError: x", 3: lambda: "read"}
    monkeypatch.setattr(fuzz, "PATIENCE", 3.0)
    # A child inherits the function, and a new one is made for what follows a death.
    monkeypatch.setattr(fuzz, "read", lambda path: deeds[int(path.read_bytes())]())
    monkeypatch.setattr(fuzz, "damaged", lambda data, rng, places: b"%d" % rng)
    monkeypatch.setattr(fuzz.np.random, "default_rng", lambda key: key[1])
    outcomes, failures, _ = fuzz.campaign([b""], range(4), seed=0)
    assert outcomes == {"crashed": 1, "hung": 1, "failed": 1, "read": 1}
    assert [line.split(":")[0] for line in failures] == ["case 0", "case 1", "case 2"]
    assert "hangs" in failures[1] and "ValueError: x" in failures[2]


def test_damage_is_repeatable(tmp_path):
    import numpy as np

    data = sound_file(tmp_path / "sound.h5").read_bytes()
    places = structures(data)
    assert len(places) > 20 and places[0] == 0
    copies = [damaged(data, np.random.default_rng([1, case]), places) for case in (4, 4, 5)]
    assert copies[0] == copies[1] != copies[2]


@pytest.mark.slow
def test_whole_events_damaged(any_file):
    assert "damaged files: " in run_command("fuzz", "--cases=1000", f"--file={any_file}")


@pytest.mark.slow
def test_bad_files_through_the_commands():
    lines = run_command("files", "--every=6").splitlines()
    assert [line.split("|")[1].strip() for line in lines[-3:]] == ["train", "evaluate", "iotest"]


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "options",
    [
        ["--runs=2"],
        ["--runs=1", "--network=sparse", "--precision=mixed"],
        ["--runs=2", "--heads=reference"],
        ["--runs=1", "--network=sparse", "--heads=sites"],
    ],
    ids=["dense", "sparse mixed", "heads", "heads of sites"],
)
def test_killed_runs_end_as_the_one_left_alone(options):
    assert "writing a checkpoint: equal" in run_command("kills", *options, "--seed=3")


@pytest.mark.slow
@pytest.mark.skipif(
    subprocess.run(
        ["sh", "-c", "unshare --user --map-root-user --mount mount -t tmpfs tmpfs /mnt"], capture_output=True
    ).returncode
    != 0,
    reason="no mount namespaces here (unshare --user --map-root-user --mount)",
)
def test_full_and_forbidden_disks():
    lines = run_command("disk", "--room", "2.2").splitlines()
    assert "No space left on device" in lines[-2] and lines[-2].endswith("| 1 | resumed, equal |")
    assert "Read-only file system" in lines[-1] and lines[-1].endswith("nothing has changed |")


def test_every_command_explains_itself():
    for name in ("kills", "fuzz", "files", "disk"):
        text = (ROOT / "scripts/faults" / f"{name}.py").read_text()
        assert f"python -m scripts.faults.{name}" in text
        assert importlib.util.find_spec(f"scripts.faults.{name}")
        assert f"python -m scripts.faults.{name}" in (ROOT / "docs/faults.md").read_text()
