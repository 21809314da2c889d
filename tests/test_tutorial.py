"""docs/tutorial.md, as a newcomer follows it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.commands import ROOT

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_every_command_of_the_tutorial_works(tmp_path):
    blocks = BLOCK.findall((ROOT / "docs/tutorial.md").read_text())
    assert len(blocks) > 6
    for name in ("flags", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    output = ""
    for kind, text in blocks:
        command = ["bash", "-euo", "pipefail", "-c", text] if kind == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=900)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        output += done.stdout
    for name in ("pictures/event_0.png", "predicted/event_0.png", "shipped.html", "output/mine/evaluation.html"):
        assert (tmp_path / name).stat().st_size > 10_000
    lines = (tmp_path / "events.csv").read_text().splitlines()
    assert "probability/neutrino" in lines[0] and "vertex_z_cm" in lines[0] and len(lines) == 1 + 3
    assert "look like neutrino" in output and "result: run=output/mine step=30 of=30" in output
    assert output.splitlines()[-1].split() == ["1", "160", "256", "3", "3"]
    scores = np.fromfile(tmp_path / "scores.bin", np.float32).reshape(1, 160, 256, 3, 3)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)
