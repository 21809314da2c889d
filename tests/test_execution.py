"""How a process is set up to compute."""

import json

import pytest

from cosmictagger_tf import execution
from cosmictagger_tf.config import ExecutionConfig
from tests.commands import TINY, run_module


@pytest.mark.parametrize("devices", [[], ["H200"]])
def test_auto_compiles_where_there_is_an_accelerator(monkeypatch, devices):
    monkeypatch.setattr(execution, "accelerators", lambda: devices)
    assert execution.compiles(ExecutionConfig()) == bool(devices)
    assert execution.compiles(ExecutionConfig(xla=True)) and not execution.compiles(ExecutionConfig(xla=False))
    assert not execution.compiles(ExecutionConfig(xla=True, deterministic=True))


@pytest.mark.parametrize(
    "flags, trains, precision",
    [("avx2 amx_bf16", False, "bfloat16"), ("avx512_bf16", False, "bfloat16"), ("avx2", False, "float32")]
    + [("avx2 amx_bf16", True, "float32")],
)
def test_auto_precision_is_bfloat16_where_the_processor_multiplies_it(tmp_path, monkeypatch, flags, trains, precision):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: fpu {flags} sse\nbugs : none\n")
    at_home = execution.multiplies_bfloat16
    monkeypatch.setattr(execution, "multiplies_bfloat16", lambda mode: at_home(mode, tmp_path / "cpuinfo"))
    config = ExecutionConfig(precision="auto", compute_mode="CPU")
    assert execution.resolved(config, trains).precision == precision


def test_where_nothing_tells_of_the_processor_auto_precision_is_float32(tmp_path):
    assert not execution.multiplies_bfloat16("CPU", tmp_path / "none")


def test_a_run_records_the_precision_that_auto_stands_for(tmp_path):
    options = [*TINY, "--precision=auto", "--iterations=1", f"--output_dir={tmp_path}", "--run_id=a"]
    done = run_module("train", "--synthetic", *options)
    assert "precision: float32 (--precision=auto)" in done.stdout.splitlines()
    assert json.loads((tmp_path / "a" / "run.json").read_text())["config"]["execution"]["precision"] == "float32"
