"""Where the tests find what the repository does not hold, and what all of them share."""

import fcntl
import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Whether a line comes of what takes long depends on the machine: tests that read what a command prints have none.
os.environ["COSMICTAGGER_ACTIVITY_SECONDS"] = "0"

import pytest

from tests.commands import run_module

ROOT = Path(__file__).resolve().parents[1]
# Before the others, so that at the end no process is left alone with one of them.
LONGEST = ("test_tutorial.py", "test_walk.py", "test_benchmark.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def log(caplog):
    """What a test's functions log, from INFO on, is in caplog.messages."""
    caplog.set_level(logging.INFO, "cosmictagger_tf")


@pytest.fixture(autouse=True)
def same_initial_weights():
    """A test's networks begin with the same weights every time, alone or among others."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


def _outside(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default)


SAMPLE = _outside("COSMICTAGGER_DATA", ROOT.parent / "shared/data") / "sbnd_sample.h5"
FIXTURES = _outside("COSMICTAGGER_FIXTURES", ROOT.parent / "shared/fixtures")


@pytest.fixture(scope="session")
def sample_file() -> Path:
    """Three real simulated SBND events, for tests of their own figures alone: others take three_events or any_file."""
    if not SAMPLE.exists():
        pytest.skip(f"the SBND sample is not here: {SAMPLE} (set COSMICTAGGER_DATA to its folder)")
    return SAMPLE


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """Outputs of the reference's own networks."""
    if not FIXTURES.exists():
        pytest.skip(f"the reference's outputs are not here: {FIXTURES} (set COSMICTAGGER_FIXTURES to their folder)")
    return FIXTURES


@pytest.fixture(params=["h5py", pytest.param("larcv", marks=pytest.mark.larcv)])
def reader_name(request):
    """Each reader that is installed."""
    if request.param == "larcv":
        pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    return request.param


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """made_once(name, make): a folder that make(folder) fills, once for all the processes of a run of the tests.

    No test may change what is in it.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def folder(name, make):
        with open(base / f"{name}.lock", "a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.getsize(lock.name):
                (base / name).mkdir()
                make(base / name)
                lock.write("made")
        return base / name

    return folder


def simulate(path: Path, events: int):
    run_module("simulate", f"--output={path}", f"--events={events}", "--simulation_seed=5")


@pytest.fixture(scope="session")
def simulated_file(made_once):
    """Ten simulated events."""
    return made_once("ten_events", lambda folder: simulate(folder / "events.h5", 10)) / "events.h5"


@pytest.fixture(scope="session")
def three_events(made_once):
    """The first three of them."""
    return made_once("three_events", lambda folder: simulate(folder / "events.h5", 3)) / "events.h5"


@pytest.fixture(params=["three_events", *(["sample_file"] if SAMPLE.exists() else [])])
def any_file(request):
    """Three simulated events; where the SBND sample is here, that too."""
    return request.getfixturevalue(request.param)
