"""Figures, whatever the user's settings of matplotlib are."""

import os
import subprocess
import sys

import pytest

from tests.commands import ROOT

DRAWING = """
import sys
import numpy as np
from cosmictagger_tf.environment import ignore_settings
if "command" in sys.argv:
    ignore_settings()
from cosmictagger_tf.figures import drawing, new_figure
with drawing({"font.size": 8}):
    figure, axes = new_figure(1, 2, (6, 3))
    for axis in axes.flat:
        axis.plot([0, 1], [0, 1], label="a line")
        axis.imshow(np.eye(3))
        axis.set_title("a title")
    figure.savefig(sys.stdout.buffer, format="png")
assert "matplotlib.pyplot" not in sys.modules, "it would choose a window's backend"
"""
SETTINGS = """
text.usetex: True
font.size: 30
axes.prop_cycle: cycler('linestyle', ['-', '--'])
image.origin: lower
savefig.dpi: 300
savefig.transparent: True
no.such.key: 1
"""


def drawn(folder, kind, **environment) -> bytes:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", DRAWING, kind]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert kind == "library" or not done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("plain"), "library", MATPLOTLIBRC=os.devnull)


@pytest.mark.parametrize("kind", ["command", "library"])
def test_the_users_settings_do_not_reach_our_figures(tmp_path, expected, kind):
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings/matplotlibrc").write_text(SETTINGS)
    for folder in (tmp_path, tmp_path / "settings"):
        assert drawn(folder, kind, MATPLOTLIBRC=str(tmp_path / "settings/matplotlibrc")) == expected


def test_a_command_draws_without_the_backend_and_the_folder_that_the_environment_names(tmp_path, expected):
    assert drawn(tmp_path, "command", MPLBACKEND="no such backend", MPLCONFIGDIR="/proc/no") == expected
