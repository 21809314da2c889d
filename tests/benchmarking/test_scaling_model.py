"""The scaling model against arithmetic done by hand, and the script that measures."""

import subprocess
import sys

import pytest

from cosmictagger_tf.benchmarking.scaling_model import Machine, bytes_sent, model_step
from tests.commands import ROOT, TINY, refusal, run_module
from tests.distributed.launching import needs_horovod


def test_a_ring_sends_each_gradient_nearly_twice():
    assert bytes_sent(1_000_000, 1) == 0
    assert bytes_sent(1_000_000, 2) == 4_000_000
    assert bytes_sent(1_000_000, 4) == 6_000_000
    assert bytes_sent(1_000_000, 4, "float16") == bytes_sent(1_000_000, 4, "bfloat16") == 3_000_000


def test_one_rank_waits_for_nobody():
    step = model_step(Machine(1e9, 1e-5, spread=0.3), 0.5, 1_000_000, 1)
    assert step.seconds == 0.5 and step.efficiency == 1.0


def test_the_terms_are_bandwidth_latency_and_the_slowest():
    step = model_step(Machine(1e9, 1e-3), compute=1.0, weights=1_000_000, ranks=4)
    assert step.exchange == pytest.approx(0.006 + 6e-3)
    assert step.efficiency == pytest.approx(1 / 1.012)
    assert model_step(Machine(1e9, 1e-3, algorithm="tree"), 1.0, 1_000_000, 4).exchange == pytest.approx(0.006 + 4e-3)
    # The largest of 1024 normal values lies about 3.7 standard deviations out by this estimate.
    assert model_step(Machine(1e9, 0.0, spread=0.1), 1.0, 0, 1024).waiting == pytest.approx(0.3723, abs=1e-3)


def test_efficiency_falls_with_the_ranks_and_rises_with_the_bandwidth():
    efficiencies = [model_step(Machine(1e9, 5e-6, 0.1), 0.1, 2_000_000, n).efficiency for n in (1, 2, 8, 64, 512, 4096)]
    assert sorted(efficiencies, reverse=True) == efficiencies and len(set(efficiencies)) == 6
    assert model_step(Machine(1e10, 5e-6, 0.1), 0.1, 2_000_000, 64).efficiency > efficiencies[3]


def test_the_door_counts_the_network():
    done = run_module("scaling", *TINY, "--rank_counts=1,4096", "--step_seconds=0.5")
    first, *_, last = done.stdout.splitlines()
    assert first.endswith("trained weights") and last.split()[0] == "4096" and "100.0%" in done.stdout
    weights = int(first.split()[0].replace(",", ""))
    assert float(last.split()[1]) == pytest.approx(8e-6 * weights, abs=0.06)
    counted = run_module("scaling", *TINY, "--minibatch_size=2", "--rank_counts=8").stdout
    assert "TFLOP in convolutions a step of 2 events" in counted
    assert "'two' is no number of ranks" in refusal("scaling", "--rank_counts=1,two")


@needs_horovod
@pytest.mark.horovod
@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_measurement_runs_and_draws(tmp_path):
    words = [
        sys.executable,
        "scripts/measure_scaling",
        "--ranks=1,2",
        "--steps=4",
        "--skip=2",
        "--threads=1",
        "--pin",
        "--apart",
    ]
    words += [f"--plot={tmp_path}/scaling.png", "--", *TINY, "--noxla"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    name, _, one, two, apart = done.stdout.splitlines()
    assert apart.split()[0] == "2" and apart.endswith("apart")
    assert name == "synthetic" and one.split()[0] == "1" and one.split()[3] == "100.0%" and two.split()[0] == "2"
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"
