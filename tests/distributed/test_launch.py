"""How a process learns that it is one of several, and what it says where that cannot be."""

import os
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.cli import command
from cosmictagger_tf.config import RanksConfig
from cosmictagger_tf.errors import ConfigError, DataError, StoppedElsewhere
from cosmictagger_tf.launch import Launch, launched, usable_cores
from cosmictagger_tf.training.distributed.horovod_ranks import is_lost
from cosmictagger_tf.training.distributed.jobs import is_distributed
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.schedules import Flat, Scaled, scaling_factor
from tests.commands import ROOT, TINY, run_module
from tests.distributed.launching import MPI, needs_mpi, package_lines, run_ranks


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, Launch()),
        ({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"}, Launch("horovodrun", 1, 2)),
        ({"HOROVOD_RANK": "0", "HOROVOD_SIZE": "1", "HOROVOD_ELASTIC": "1"}, Launch("horovodrun", 0, 1, True)),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, Launch("mpirun", 3, 4)),
        ({"PMI_RANK": "5", "PMI_SIZE": "8"}, Launch("mpiexec", 5, 8)),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}, Launch("srun", 2, 4)),
        # A batch script of Slurm's, in which the command is not started by srun.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Launch()),
    ],
)
def test_each_launcher_is_known_by_its_variables(environment, launch):
    assert launched(environment) == launch


def test_the_flag_must_not_contradict_the_launcher():
    alone, two = Launch(), Launch("mpirun", 0, 2)
    assert not is_distributed(RanksConfig("auto"), alone) and is_distributed(RanksConfig("auto"), two)
    assert not is_distributed(RanksConfig("false"), alone) and is_distributed(RanksConfig("true"), two)
    with pytest.raises(ConfigError, match="horovodrun -np 2"):
        is_distributed(RanksConfig("true"), alone)
    with pytest.raises(ConfigError, match="mpirun started 2 ranks"):
        is_distributed(RanksConfig("false"), two)


@pytest.mark.parametrize(
    ("rank", "settled", "error", "waits", "reports"),
    [
        (0, False, ConfigError, False, True),
        (1, False, ConfigError, True, True),
        (1, True, ConfigError, False, True),
        (0, False, StoppedElsewhere, True, False),
        (1, False, StoppedElsewhere, True, False),
    ],
)
def test_who_says_what_is_wrong(rank, settled, error, waits, reports, monkeypatch, capsys):
    """Rank 0 at once; another one too where the ranks know that it does, and else only where the job still runs."""

    def main():
        mistake = error("wrong")
        mistake.settled = settled
        raise mistake

    slept = []
    monkeypatch.setattr(command, "launched", lambda: Launch("mpirun", rank, 2))
    monkeypatch.setattr(command.time, "sleep", slept.append)
    assert command.run_command("train", main, (), "", "", [], uses_keras=False) == 2
    assert bool(slept) == waits
    assert capsys.readouterr().err == ("cosmictagger_tf.train: wrong\n" if reports else "")


class Grown(RuntimeError):
    """As Horovod's own, by name."""


Grown.__name__ = "HorovodInternalError"
COMPILED = """Detected at node shared defined at (most recent call last):
  File "/here/site-packages/horovod/tensorflow/mpi_ops.py", line 130, in _allreduce

  File "<string>", line 111, in horovod_allreduce
"""
SHUT_DOWN = "Horovod has been shut down. This was caused by an exception on one of the ranks"


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (Grown("ncclCommAbort"), True),
        (tf.errors.UnknownError(None, None, f"{SHUT_DOWN} [Op:HorovodAllgather] name: "), True),
        (tf.errors.AbortedError(None, None, "{{node HorovodAllreduce_shared_0}} Connection closed by peer"), True),
        (tf.errors.UnknownError(None, None, f"Graph execution error:\n{COMPILED}\nConnection closed by peer"), True),
        (
            tf.errors.UnknownError(None, None, f"Graph execution error:\n\n{SHUT_DOWN}\n [[{{{{node a}}}}]]"),
            True,
        ),
        (tf.errors.UnknownError(None, None, f"2 root error(s) found.\n  (0) UNKNOWN:  {SHUT_DOWN}"), True),
        (tf.errors.UnknownError(None, None, "/data/horovod_test.h5; Input/output error"), False),
        (tf.errors.UnknownError(None, None, "/gloo/Horovod/events.v2; Input/output error [Op:WriteSummary]"), False),
        (tf.errors.ResourceExhaustedError(None, None, "{{node HorovodAllreduce}} no memory"), False),
        (RuntimeError("Unable to open /gloo/Horovod/a.h5 [Op:HorovodAllgather]"), False),
        (OSError(5, "Input/output error", "/horovod/gloo/a.h5"), False),
        (DataError("horovod_test.h5", "is cut short"), False),
    ],
)
def test_a_lost_rank_is_known_by_the_operation_that_failed(error, lost):
    assert is_lost(error) == lost


def test_one_rank_needs_nobody():
    ranks = Ranks()
    assert ranks.part("minibatch_size", 5) == 5 and ranks.gather("mine") == ["mine"]
    np.testing.assert_array_equal(ranks.sum([np.arange(3)])[0], np.arange(3))


def test_the_batch_must_divide_by_the_ranks():
    ranks = Ranks()
    ranks.size = 4
    assert ranks.part("minibatch_size", 8) == 2
    with pytest.raises(ConfigError, match=r"--minibatch_size=6.*multiple.*4"):
        ranks.part("minibatch_size", 6)


def test_the_learning_rate_grows_from_one_ranks_to_many():
    assert [scaling_factor(kind, 16) for kind in ("none", "linear", "sqrt")] == [1.0, 16.0, 4.0]
    rate = Scaled(Flat(0.1), 16.0, rise=10)
    assert [float(rate(step)) for step in (0, 5, 10, 99)] == pytest.approx([0.1, 0.85, 1.6, 1.6])
    assert float(Scaled(Flat(0.1), 16.0, rise=0)(0)) == pytest.approx(1.6)


@needs_mpi
def test_without_horovod_one_line_says_what_to_install(tmp_path):
    (tmp_path / "horovod.py").write_text("raise ModuleNotFoundError('No module named horovod')")
    flags = [*TINY, "--synthetic", "--iterations=1", f"--output_dir={tmp_path}"]
    done = run_ranks(MPI, 2, "train", *flags, check=False, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    lines = package_lines(done.stdout + done.stderr)
    assert len(lines) == 1 and "scripts/install_horovod" in lines[0] and "2 ranks" in lines[0], done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.glob("*/checkpoints"))


def test_alone_it_neither_needs_horovod_nor_ignores_the_flag(tmp_path):
    (tmp_path / "horovod.py").write_text("raise ModuleNotFoundError('No module named horovod')")
    done = run_module("iotest", "--synthetic", "--downsample=4", "--read_iterations=2", PYTHONPATH=str(tmp_path))
    assert "4 events in" in done.stdout
    done = run_module("iotest", "--synthetic", "--distributed=true", check=False)
    assert done.returncode == 2 and "mpirun -np 2" in done.stderr and len(done.stderr.splitlines()) == 1


@needs_mpi
def test_a_mistake_in_the_flags_is_said_once():
    done = run_ranks(MPI, 2, "train", "--iterations=1", "--synthetic", "--learning_rate=-1", check=False)
    assert len(package_lines(done.stderr)) == 1 and done.returncode != 0


def test_the_scripts_of_the_clusters_are_sound():
    scripts = list((ROOT / "scripts/jobs").glob("*.sh"))
    assert len(scripts) == 2
    for script in scripts:
        assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_the_cores_are_counted_where_the_system_has_no_affinity(monkeypatch):
    assert usable_cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores() == 6
