"""Runs that an earlier version began (checkpoints of format 1, of commit fc4f400) go on as they would have there."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.commands import run_module
from tests.training.test_backends import arrays, history

OLD = Path(__file__).parent / "old_runs"
NETWORK = ["n_initial_filters=2", "network_depth=1", "blocks_per_layer=1", "blocks_deepest_layer=1", "blocks_final=0"]
NETWORK += ["bottleneck_deepest=2", "filter_size_deepest=3"]
RUN = ["synthetic", "downsample=6", "minibatch_size=2", "compute_mode=CPU", "no_summary_images", "iterations=4"]
RUN += ["checkpoint_iteration=2", "logging_iteration=4", "summary_iteration=4"]
KINDS = {
    "tensorflow": ["--noxla", "--ema_momentum=0.9", "--gradient_accumulation=2"],
    "mixed": ["--noxla", "--precision=mixed"],
    "jax": [],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_older_run_goes_on_to_the_weights_that_it_would_have_had(tmp_path, kind):
    backend = "jax" if kind == "jax" else "tensorflow"
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    shutil.copytree(OLD / kind, tmp_path / kind)
    flags = [f"--{option}" for option in (*NETWORK, *RUN)] + KINDS[kind]
    where = [f"--output_dir={tmp_path}", f"--run_id={kind}"]
    done = run_module("train", *flags, *where, KERAS_BACKEND=backend)
    assert "resumed from" in done.stdout and "step=4 of=4" in done.stdout and "KERAS_BACKEND" not in done.stdout
    found, (row,) = arrays(tmp_path / kind, 4), history(tmp_path / kind)
    assert row["step"] == "4" and json.loads((tmp_path / kind / "run.json").read_text())["backend"] == backend
    with np.load(OLD / kind / "weights_of_step_4.npz") as expected:
        assert len(expected.files) > 20
        for name in expected.files:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=2e-5, err_msg=name)
