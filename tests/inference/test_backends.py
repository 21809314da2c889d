"""predict and evaluate on another of Keras's backends, from the same weights file."""

import json

import numpy as np
import pytest

from tests.commands import run_module
from tests.inference.conftest import scores_of


@pytest.mark.slow
@pytest.mark.exhaustive
def test_jax_gives_the_same_scores_and_metrics(run, simulated_file, tmp_path):
    pytest.importorskip("jax")
    where = [*run, "--xla", f"--file={simulated_file}", "--max_entries=3"]
    for backend in ("tensorflow", "jax"):
        run_module("predict", *where, f"--output={tmp_path}/{backend}.h5", KERAS_BACKEND=backend)
        report = [f"--report={tmp_path}/{backend}.html", "--nohtml", "--bootstrap=0"]
        run_module("evaluate", *where, *report, KERAS_BACKEND=backend)
    for entry in range(3):
        for one, other in zip(
            *(scores_of(tmp_path / f"{name}.h5", entry) for name in ("tensorflow", "jax")), strict=True
        ):
            np.testing.assert_allclose(one.values, other.values, atol=1e-4)
    one, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("tensorflow", "jax"))
    assert other["versions"]["backend"] == "jax"
    assert other["metrics"] == pytest.approx(one["metrics"], abs=1e-3)
