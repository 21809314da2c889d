"""predict and evaluate on Keras's other backends, from the same weights file, where TensorFlow is not installed."""

import json

import numpy as np
import pytest

from tests.commands import run_module
from tests.inference.conftest import scores_of

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


def predict_and_evaluate(backend, where, folder, **environment):
    """The paths of the scores and of the report's JSON."""
    flags = [*where, "--max_entries=3"]
    run_module("predict", *flags, f"--output={folder}/{backend}.h5", KERAS_BACKEND=backend, **environment)
    report = [f"--report={folder}/{backend}.html", "--nohtml", "--bootstrap=0"]
    run_module("evaluate", *flags, *report, KERAS_BACKEND=backend, **environment)
    return folder / f"{backend}.h5", folder / f"{backend}.json"


@pytest.fixture(scope="module")
def where(run, simulated_file):
    return [*run, "--xla", f"--file={simulated_file}"]


@pytest.fixture(scope="module")
def reference(where, tmp_path_factory):
    return predict_and_evaluate("tensorflow", where, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_gives_the_same_scores_and_metrics(backend, where, reference, tmp_path):
    pytest.importorskip(backend)
    (tmp_path / "tensorflow.py").write_text("raise ImportError('as if it were not installed')")
    scores, report = predict_and_evaluate(backend, where, tmp_path, PYTHONPATH=str(tmp_path))
    for entry in range(3):
        for one, other in zip(*(scores_of(path, entry) for path in (reference[0], scores)), strict=True):
            np.testing.assert_allclose(one.values, other.values, atol=1e-4)
    one, other = (json.loads(path.read_text()) for path in (reference[1], report))
    assert other["versions"]["backend"] == backend
    assert other["metrics"] == pytest.approx(one["metrics"], abs=1e-3)
