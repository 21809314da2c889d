"""The same rulebook and logits on Keras's other backends, each in another process."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.commands import ROOT
from tests.networks.sparse.examples import EXCHANGING, random_batch, rulebook, site_logits, sparse_network

ELSEWHERE = """
import sys
import numpy as np
import keras
from tests.networks.sparse.examples import EXCHANGING, random_batch, rulebook, site_logits, sparse_network
assert keras.backend.backend() == sys.argv[1]
network, book = sparse_network(EXCHANGING, seed=5), rulebook(random_batch(30), EXCHANGING)
np.savez(sys.argv[2], evaluated=site_logits(network, book), trained=site_logits(network, book, training=True), **book)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_gives_the_same(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ELSEWHERE, backend, str(tmp_path / "results.npz")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    network, book = sparse_network(EXCHANGING, seed=5), rulebook(random_batch(30), EXCHANGING)
    with np.load(tmp_path / "results.npz") as results:
        for name, table in book.items():
            np.testing.assert_array_equal(results[name], table, err_msg=name)
        np.testing.assert_allclose(results["evaluated"], site_logits(network, book), atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(results["trained"], site_logits(network, book, training=True), atol=1e-4, rtol=1e-4)
