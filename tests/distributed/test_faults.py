"""Jobs that lose a rank: all ranks stop within a minute, one line says why, and the same command resumes."""

import json
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.commands import run_module
from tests.distributed.launching import (
    GLOO,
    HOROVODRUN,
    MPI,
    QUICK,
    Job,
    command,
    needs_horovod,
    needs_mpi,
    package_lines,
    run_ranks,
)

pytestmark = [pytest.mark.slow, pytest.mark.horovod, needs_horovod]
LONG = ["--iterations=100000", "--checkpoint_iteration=2", "--logging_iteration=2", "--learning_rate=1e-5"]


@pytest.fixture
def job(three_events, tmp_path):
    """Starts a training that lasts for hours; it is at step 4 when it is given back."""
    started = []

    def start(launcher, *more, ranks=2):
        flags = [*QUICK, *LONG, f"--file={three_events},{three_events}", f"--output_dir={tmp_path}", *more]
        started.append(Job(command(launcher, ranks, "train", *flags), tmp_path / "log"))
        started[-1].wait_for("train 4/")
        assert set(started[-1].pids()) == set(range(ranks))
        return started[-1]

    yield start
    for one in started:
        one.end()


def steps(tmp_path):
    return sorted(int(p.name[5:]) for p in (tmp_path / "test/checkpoints").glob("step_????????"))


def resume(three_events, tmp_path, ranks):
    """Two steps more, with another number of ranks."""
    last = steps(tmp_path)[-1]
    flags = [
        *QUICK,
        *LONG,
        f"--file={three_events},{three_events}",
        f"--output_dir={tmp_path}",
        f"--iterations={last + 2}",
    ]
    done = run_module("train", *flags) if ranks == 1 else run_ranks(GLOO, ranks, "train", *flags)
    assert "resumed from" in done.stdout and f"step_{last:08d}" in done.stdout
    assert steps(tmp_path)[-1] == last + 2


def test_a_rank_is_killed(job, three_events, tmp_path):
    running = job(GLOO)
    running.send(1, signal.SIGKILL)
    assert running.finish(60) != 0
    lines = package_lines(running.text)
    assert len(lines) == 1 and "rank 1 is gone" in lines[0] and "resumes" in lines[0], running.text
    resume(three_events, tmp_path, ranks=4)


@pytest.mark.exhaustive
def test_rank_0_is_killed(job):
    running = job(GLOO)
    running.send(0, signal.SIGKILL)
    assert running.finish(60) != 0
    lines = package_lines(running.text)
    assert len(lines) == 1 and "rank 0 is gone" in lines[0], running.text


@pytest.mark.parametrize(
    "launcher", [GLOO, pytest.param(MPI, marks=[needs_mpi, pytest.mark.exhaustive])], ids=["horovodrun", "mpirun"]
)
def test_a_rank_hangs(job, launcher):
    running = job(launcher)
    victims = running.pids()
    running.send(1, signal.SIGSTOP)
    assert running.finish(60) != 0
    lines = [line for line in running.text.splitlines() if "has not answered" in line]
    assert len(lines) == 1 and "rank 1 has not answered for 20 s" in lines[0], running.text
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in victims.values()):
        assert time.monotonic() < until, "a rank was left behind"
        time.sleep(0.2)


@pytest.mark.exhaustive
def test_a_rank_of_predict_stands_still(three_events, tmp_path):
    flags = [*QUICK, f"--file={three_events}", f"--output_dir={tmp_path}", "--iterations=1"]
    run_module("train", *flags)
    flags = [f"--output_dir={tmp_path}", f"--output={tmp_path}/s.h5", "--noxla", "--minibatch_size=1"]
    words = command(MPI, 2, "predict", *flags, "--file=" + ",".join([str(three_events)] * 40))
    running = Job(words, tmp_path / "log")
    try:
        part = tmp_path / ".s.h5.work/part_000001.npz"
        until = time.monotonic() + 200
        while not part.exists():
            assert time.monotonic() < until and running.process.poll() is None, running.text
            time.sleep(0.02)
        running.send(1, signal.SIGSTOP)
        running.wait_for("waiting for rank 1: ")
        running.send(1, signal.SIGCONT)
        assert running.finish(200) == 0, running.text
        assert (tmp_path / "s.h5").exists() and not part.parent.exists()
    finally:
        running.end()


def with_last_values(three_events, folder, pixels, value):
    """The three events, with this value in the last pixels of its last entry; returns the file."""
    bad = folder / "bad.h5"
    bad.write_bytes(three_events.read_bytes())
    with h5py.File(bad, "r+") as file:
        voxels = file["Data/sparse2d_sbndwire_group/voxels"]
        rows = voxels[-pixels:]
        rows["value"] = value
        voxels[-pixels:] = rows
    return bad


def test_a_bad_entry_on_one_rank(three_events, tmp_path):
    bad = with_last_values(three_events, tmp_path, 1, np.nan)
    # Two events a step, one a rank: the same event is never on both.
    flags = [*QUICK, *LONG, f"--file={bad}", f"--output_dir={tmp_path}", "--minibatch_size=2"]
    began = time.monotonic()
    done = run_ranks(GLOO, 2, "train", *flags, check=False)
    assert done.returncode != 0
    lines = package_lines(done.stderr)
    assert len(lines) == 1 and "bad.h5, entry 2" in lines[0], done.stderr
    # The launcher's own traceback has no mark of a rank before it.
    assert not [line for line in done.stderr.splitlines() if line.startswith("[") and "Traceback" in line]
    assert time.monotonic() - began < 200


@pytest.mark.exhaustive
def test_a_bad_entry_that_may_be_skipped(three_events, tmp_path):
    bad = with_last_values(three_events, tmp_path, 1, np.nan)
    flags = [*QUICK, f"--file={bad}", f"--output_dir={tmp_path}", "--iterations=6", "--skip_bad_events=1"]
    done = run_ranks(GLOO, 2, "train", *flags, "--minibatch_size=2", "--checkpoint_iteration=3")
    assert done.stdout.count("bad.h5, entry 2, plane ") == 1 and "(1 of at most 1 bad event)" in done.stdout
    for step in (3, 6):
        manifest = json.loads((tmp_path / f"test/checkpoints/step_{step:08d}/manifest.json").read_text())
        assert manifest["skipped"] == [[str(bad), 2]] and manifest["ranks"] == 2


@pytest.mark.exhaustive
def test_a_loss_that_is_not_finite_on_one_rank(sample_file, tmp_path):
    bad = with_last_values(sample_file, tmp_path, 3000, 3e38)
    flags = [*QUICK, *LONG, f"--file={bad}", f"--output_dir={tmp_path}", "--minibatch_size=2"]
    # In a smaller network the loss stays finite.
    flags += ["--network_depth=2", "--blocks_per_layer=1", "--blocks_deepest_layer=1"]
    done = run_ranks(GLOO, 2, "train", *flags, check=False)
    assert done.returncode != 0
    lines = package_lines(done.stderr)
    assert len(lines) == 1 and "is not finite, of the events " in lines[0], done.stderr
    assert lines[0].count("bad.h5, entry 2") == 1 and lines[0].count(", entry ") == 1, "of the one rank that has it"


def test_sigterm_to_the_launcher_saves(job, three_events, tmp_path):
    running = job(GLOO)
    running.process.send_signal(signal.SIGTERM)
    running.finish(60)
    assert "result: " in running.text, running.text
    assert package_lines(running.text) == []
    resume(three_events, tmp_path, ranks=1)


@pytest.mark.exhaustive
def test_elastic_loses_a_rank_and_gets_it_back(three_events, tmp_path):
    """Two names of this machine stand for two nodes; the one whose rank is killed may come back after some seconds."""
    hosts = tmp_path / "discover.sh"
    hosts.write_text("#!/bin/sh\nprintf 'localhost:1\\n127.0.0.1:1\\n'\n")
    hosts.chmod(0o755)
    elastic = ["--min-np", "1", "--max-np", "2", "--host-discovery-script", str(hosts), "--network-interface", "lo"]
    elastic += ["--blacklist-cooldown-range", "5", "10"]
    flags = [*QUICK, *LONG, f"--file={three_events},{three_events}", f"--output_dir={tmp_path}"]
    running = Job([HOROVODRUN, *elastic, *command([], 2, "train", *flags)], tmp_path / "log")
    record = tmp_path / "test/run.json"
    try:
        running.wait_for("train 4/")
        running.send(running.rank_on("127.0.0.1"), signal.SIGKILL)
        running.wait_for("resumed from")
        alone = running.text.count("resumed from")
        until = time.monotonic() + 120
        while running.text.count("resumed from") == alone or json.loads(record.read_text())["ranks"] != 2:
            assert time.monotonic() < until and running.process.poll() is None, running.text
            time.sleep(0.2)
        last = steps(tmp_path)[-1]
        while steps(tmp_path)[-1] <= last:
            assert time.monotonic() < until and running.process.poll() is None, running.text
            time.sleep(0.2)
        assert package_lines(running.text) == []
    finally:
        running.end()
