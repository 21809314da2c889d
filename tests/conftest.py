"""Where the tests find what the repository does not hold, and what all of them share."""

import logging
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

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


def _outside(variable: str, default: Path, what: str) -> Path:
    path = Path(os.environ.get(variable) or default)
    if not path.exists():
        pytest.skip(f"{what} is not here: {path} (set {variable})")
    return path


@pytest.fixture(scope="session")
def sample_file() -> Path:
    """Three real simulated SBND events; COSMICTAGGER_DATA names the folder that holds the file."""
    return _outside("COSMICTAGGER_DATA", ROOT.parent / "shared/data", "the SBND sample") / "sbnd_sample.h5"


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """Outputs of the reference's own networks; COSMICTAGGER_FIXTURES names the folder."""
    return _outside("COSMICTAGGER_FIXTURES", ROOT.parent / "shared/fixtures", "the reference's outputs")


@pytest.fixture(params=["h5py", pytest.param("larcv", marks=pytest.mark.larcv)])
def reader_name(request):
    """Each reader that is installed."""
    if request.param == "larcv":
        pytest.importorskip("larcv", reason="the larcv library is not installed: scripts/install_larcv")
    return request.param


@pytest.fixture(scope="session")
def simulated_file(tmp_path_factory):
    """Ten simulated events."""
    path = tmp_path_factory.mktemp("simulated") / "events.h5"
    run_module("simulate", f"--output={path}", "--events=10", "--simulation_seed=5")
    return path
