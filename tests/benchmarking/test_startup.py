"""What whole commands take from their start, shown line by line."""

import os
import textwrap

import pytest

from cosmictagger_tf.benchmarking import startup
from cosmictagger_tf.errors import ConfigError
from tests.commands import refusal


@pytest.fixture
def checkout(tmp_path):
    """A package of this name whose one command computes for a while, prints, and writes no file."""
    (tmp_path / "flags").mkdir()
    (tmp_path / "flags/quick.flags").touch()
    package = tmp_path / "cosmictagger_tf"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "predict.py").write_text(
        textwrap.dedent("""
        import sys, time
        def compute(seconds):
            until = time.process_time() + seconds
            while time.process_time() < until: pass
        compute(0.5)
        print("half")
        compute(0.5)
        print(*sys.argv[1:])
        sys.exit("--fail" in sys.argv)
        """)
    )
    return tmp_path


def test_parts_add_up_to_what_a_command_takes(checkout, monkeypatch, caplog):
    monkeypatch.setattr(startup, "CHECKOUT", checkout)
    monkeypatch.setattr(startup, "COMMANDS", {"one": "predict --output={folder}/scores.h5"})
    result = startup.measure_startup("events.h5", str(checkout))["one"]
    for which in ("here", "against"):
        (half, first), (whole, second) = result[which]["parts"]
        assert (
            first == "half" and second.startswith("--output=/") and second.endswith(f"--file={os.getcwd()}/events.h5")
        )
        assert half > 0.45 and whole > 0.95 and result[which]["cpu_seconds"] > whole - 0.05
        assert result[which]["memory"] > 2**20 and result[which]["seconds"] > 0
    assert result["ratio"] == result["here"]["cpu_seconds"] / result["against"]["cpu_seconds"]
    assert "of the other's CPU seconds" in caplog.messages[-1] and "CPU s until: half" in caplog.text
    monkeypatch.setattr(startup, "COMMANDS", {"one": "predict --fail"})
    with pytest.raises(ConfigError, match=r"`predict --fail` failed in"):
        startup.measure_startup("events.h5")


def test_mistakes_are_one_line(any_file, tmp_path):
    assert "needs --file" in refusal("benchmark", "--startup")
    line = refusal("benchmark", "--startup", f"--file={any_file}", f"--against={tmp_path}")
    assert f"{tmp_path} is no checkout" in line
