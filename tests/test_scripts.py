"""The scripts parse, explain themselves and refuse what they cannot do; the pins and the metadata agree."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cosmictagger_tf
from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_labelled
from cosmictagger_tf.detector import COSMIC, NEUTRINO

CHECKOUT = Path(__file__).resolve().parent.parent
OURS = ["install_larcv", "install_horovod", "test"]
SHELL_FILES = sorted(
    path
    for folder in ("scripts", ".ci")
    for path in (CHECKOUT / folder).iterdir()
    if path.is_file() and (path.suffix == ".sh" or path.read_bytes()[:64].startswith(b"#!/usr/bin/env bash"))
)


def run(*command, **environment):
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
        timeout=60,
    )


def requirements(extra=None) -> list[Requirement]:
    """What setup.cfg asks for, always or by an extra."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(CHECKOUT / "setup.cfg")
    text = config["options.extras_require"][extra] if extra else config["options"]["install_requires"]
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (CHECKOUT / "scripts" / "constraints.txt").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^ ]+", line) for line in lines), "exact versions only"
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert len(pinned) == len(lines), "a package is pinned twice"
    return pinned


@pytest.mark.parametrize("script", SHELL_FILES, ids=lambda path: path.name)
def test_every_script_parses(script):
    result = run("bash", "-n", script)
    assert result.returncode == 0, result.stderr
    assert script.suffix == ".sh" or os.access(script, os.X_OK), f"{script.name} is not executable"


@pytest.mark.parametrize("script", OURS)
def test_help_is_the_comment_at_the_top(script):
    result = run(CHECKOUT / "scripts" / script, "--help")
    assert result.returncode == 0 and result.stderr == ""
    assert f"scripts/{script} [" in result.stdout and "--help" in result.stdout
    assert "set -euo" not in result.stdout


@pytest.mark.parametrize("script", sorted(path.name for path in (CHECKOUT / "scripts").glob("measure_*")))
def test_what_measures_explains_itself(script):
    result = run(sys.executable, CHECKOUT / "scripts" / script, "--help")
    assert result.returncode == 0 and f"\n{' ' * 4 * (script == 'measure_scaling')}scripts/{script}" in result.stdout
    assert os.access(CHECKOUT / "scripts" / script, os.X_OK)


@pytest.mark.parametrize("script", ["install_larcv", "install_horovod"])
def test_an_unknown_option_is_refused_in_one_line(script):
    result = run(CHECKOUT / "scripts" / script, "--bogus")
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "--bogus" in result.stderr


@pytest.mark.parametrize("script", ["install_larcv", "install_horovod"])
def test_a_python_that_does_not_run_is_refused_in_one_line(script):
    result = run(CHECKOUT / "scripts" / script, "--python", "/nowhere/python")
    assert result.returncode == 1 and result.stderr.count("\n") == 1 and "/nowhere/python" in result.stderr


def test_install_larcv_refuses_numpy_2_by_name(tmp_path):
    (tmp_path / "numpy.py").write_text("__version__ = '2.1.0'\n")
    result = run(CHECKOUT / "scripts" / "install_larcv", "--python", sys.executable, PYTHONPATH=str(tmp_path))
    assert result.returncode == 1 and "NumPy 2.1.0" in result.stderr and "numpy<2" in result.stderr


def test_install_horovod_needs_tensorflow_first(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError\n")
    result = run(CHECKOUT / "scripts" / "install_horovod", "--python", sys.executable, PYTHONPATH=str(tmp_path))
    assert result.returncode == 1 and "TensorFlow does not import" in result.stderr


@pytest.mark.parametrize("extra", [None, "larcv", "horovod", "gpu", "jax", "torch", "test"])
def test_the_constraints_pin_all_that_setup_cfg_names(extra, pins):
    for requirement in requirements(extra):
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"scripts/constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(version), f"{requirement} excludes its own pin {version}"


def test_the_pins_of_the_compiled_packages_are_the_versions_that_the_scripts_build(pins):
    for package in ("larcv", "horovod"):
        script = (CHECKOUT / "scripts" / f"install_{package}").read_text()
        assert f"\nVERSION={pins[package]}\n" in script


def test_the_version_stands_in_setup_cfg_and_in_the_package_alike():
    config = configparser.ConfigParser(interpolation=None)
    config.read(CHECKOUT / "setup.cfg")
    assert config["metadata"]["version"] == cosmictagger_tf.__version__


def test_every_folder_of_the_package_is_packaged():
    modules = {path.parent for path in (CHECKOUT / "cosmictagger_tf").rglob("*.py")}
    unpackaged = [str(folder) for folder in modules if not (folder / "__init__.py").exists()]
    assert unpackaged == []


def test_remove_neutrino_leaves_the_cosmic_rays(three_events, tmp_path):
    copy = tmp_path / "copy.h5"
    command = [sys.executable, CHECKOUT / "scripts" / "remove_neutrino", three_events, copy]
    assert run(*command).stdout == f"written: {copy}\n"
    before, after = (open_labelled(DataConfig(file=(str(path),))) for path in (three_events, copy))
    for entry in range(3):
        old, new = before.read(entry), after.read(entry)
        assert old.event_id == new.event_id
        assert sum(int((plane.values == NEUTRINO).sum()) for plane in old.label) > 0
        for plane in range(3):
            image, label, left = old.image[plane], old.label[plane], new.label[plane]
            np.testing.assert_array_equal(left.values[left.values > 0], label.values[label.values == COSMIC])
            neutrino = label.values == NEUTRINO
            rows, columns = (
                image_axis[:, None] - label_axis[neutrino]
                for image_axis, label_axis in ((image.rows, label.rows), (image.columns, label.columns))
            )
            far = ~((abs(rows) <= 6) & (abs(columns) <= 2)).any(axis=1)
            # What is far from the neutrino stays, and of what is near no more than cosmic rays account for.
            there = set(zip(new.image[plane].rows.tolist(), new.image[plane].columns.tolist(), strict=True))
            assert there >= set(zip(image.rows[far].tolist(), image.columns[far].tolist(), strict=True))
            assert len(there) < len(image.rows) or not neutrino.any()
    before.close()
    after.close()
    refused = run(*command)
    assert refused.returncode == 2 and "exists already" in refused.stderr and "Traceback" not in refused.stderr
