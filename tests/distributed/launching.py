"""Starts real jobs of several ranks, as a user does."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ROOT, TINY

HERE = Path(__file__).parent
HOROVODRUN = str(Path(sys.executable).parent / "horovodrun")
GLOO = [HOROVODRUN, "--gloo"]
MPI = ["mpirun", "--oversubscribe", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]

needs_horovod = pytest.mark.skipif(
    importlib.util.find_spec("horovod") is None, reason="Horovod is not here (scripts/install_horovod)"
)
needs_mpi = pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not here")
# One thread a rank, and no XLA, whose compiler takes longer than these steps.
QUICK = [
    *TINY,
    "--noxla",
    "--seed=3",
    "--minibatch_size=4",
    "--no_summary_images",
    "--intra_op_parallelism_threads=1",
    "--inter_op_parallelism_threads=1",
]


def command(launcher: list[str], ranks: int, name: str, *arguments) -> list[str]:
    return [*launcher, "-np", str(ranks), sys.executable, "-m", f"cosmictagger_tf.{name}", *map(str, arguments)]


def run_ranks(launcher, ranks, name, *arguments, check=True, timeout=300, **environment):
    """A finished job, its output as text; check: it must exit with 0."""
    words = command(launcher, ranks, name, *arguments)
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, timeout=timeout, env={**os.environ, **environment}
    )
    if check:
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done


def unmarked(line: str) -> str:
    """A line without the mark of its rank and stream that horovodrun puts before it."""
    return re.sub(r"^\[[\d,]+\]<std\w+>:", "", line)


def package_lines(text: str) -> list[str]:
    """The lines that this package printed, on whichever rank: without the launchers' marks."""
    lines = map(unmarked, re.split(r"[\r\n]+", text))
    return [line for line in lines if re.match(r"cosmictagger_tf(\.\w+)?: ", line)]


class Job:
    """A running job of several ranks.

    Args:
        words: the command.
        log: file that takes its output.
    """

    def __init__(self, words: list[str], log: Path, **environment):
        self.log = log
        with open(log, "w") as file:
            self.process = subprocess.Popen(
                words, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **environment}
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str, seconds: float = 200):
        """Waits until the job has printed this."""
        until = time.monotonic() + seconds
        while words not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < until, f"never printed {words!r}:\n{self.text}"
            time.sleep(0.1)

    def pids(self) -> dict[int, int]:
        """The processes of the ranks, by rank."""
        pids = {}
        for pid in _descendants(self.process.pid):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                variables = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            rank = re.search(rb"\0(?:HOROVOD_RANK|OMPI_COMM_WORLD_RANK)=(\d+)\0", variables)
            if rank and os.path.basename(words[0]).startswith(b"python"):
                pids[int(rank[1])] = pid
        return pids

    def rank_on(self, host: str) -> int:
        """The rank that horovodrun started on a host of this name."""
        for rank, pid in self.pids().items():
            if f"\0HOROVOD_HOSTNAME={host}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                return rank
        raise AssertionError(f"no rank on {host}")

    def send(self, rank: int, number: signal.Signals):
        os.kill(self.pids()[rank], number)

    def finish(self, seconds: float) -> int:
        """The exit status; the job must end by itself in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None

    def end(self):
        """Kills what is left."""
        for pid in [*_descendants(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    descendants, todo = [], [pid]
    while todo:
        some = children.get(todo.pop(), [])
        descendants += some
        todo += some
    return descendants
