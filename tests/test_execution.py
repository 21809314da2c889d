"""How a process is set up to compute."""

import pytest

from cosmictagger_tf import execution
from cosmictagger_tf.config import ExecutionConfig


@pytest.mark.parametrize("devices", [[], ["H200"]])
def test_auto_compiles_where_there_is_an_accelerator(monkeypatch, devices):
    monkeypatch.setattr(execution, "accelerators", lambda: devices)
    assert execution.compiles(ExecutionConfig()) == bool(devices)
    assert execution.compiles(ExecutionConfig(xla=True)) and not execution.compiles(ExecutionConfig(xla=False))
    assert not execution.compiles(ExecutionConfig(xla=True, deterministic=True))
