"""The same weights file gives the same logits under Keras's other backends."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from tests.commands import ROOT

SHAPE = ImageShape(3, 16, 32)
CONFIG = NetworkConfig(
    n_initial_filters=4,
    network_depth=1,
    blocks_per_layer=1,
    blocks_deepest_layer=1,
    blocks_final=1,
    bottleneck_deepest=8,
)
VARIANTS = {
    "2D": {},
    "3D": {"conv_mode": "3D"},
    "tensorflow": {"wiring": "tensorflow", "connections": "sum"},
    "channels_first": {"data_format": "channels_first"},
    "remat": {"remat": True},
}
# Runs under the other backend; writes the logits in inference and in training mode.
SCRIPT = """
import sys, numpy as np, keras
sys.path.insert(0, sys.argv[1])
from tests.networks.test_backends import CONFIG, SHAPE, VARIANTS
from cosmictagger_tf.config import with_changes
from cosmictagger_tf.networks.build import build_network
assert keras.backend.backend() == sys.argv[2], keras.backend.backend()
folder = sys.argv[3]
x, results = np.load(f"{folder}/x.npy"), {}
for name, changes in VARIANTS.items():
    network = build_network(with_changes(CONFIG, **changes), SHAPE)
    network.load_weights(f"{folder}/{name}.weights.h5")
    for training in (False, True):
        logits = keras.ops.stop_gradient(network(x, training=training))
        results[f"{name} {training}"] = keras.ops.convert_to_numpy(logits)
np.savez(f"{folder}/logits.npz", **results)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_logits_are_the_same_under(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install {backend}")
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(3).normal(size=(2, 3, 16, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    expected = {}
    for name, changes in VARIANTS.items():
        # TensorFlow's convolutions are channels_last on every CPU.
        network = build_network(with_changes(CONFIG, **{**changes, "data_format": "channels_last"}), SHAPE)
        rng = np.random.default_rng(7)
        network.set_weights([w + 0.1 * rng.uniform(-1, 1, w.shape).astype(w.dtype) for w in network.get_weights()])
        network.save_weights(tmp_path / f"{name}.weights.h5")
        for training in (False, True):
            expected[f"{name} {training}"] = np.asarray(network(x, training=training))
    command = [sys.executable, "-c", SCRIPT, str(ROOT), backend, str(tmp_path)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "logits.npz") as results:
        assert set(results.files) == set(expected)
        for name, logits in expected.items():
            # Logits of order 1 to 10, so that 1e-4 is far above rounding and far below any mistake.
            assert 0.1 < np.ptp(logits) < 50
            np.testing.assert_allclose(results[name], logits, rtol=1e-4, atol=1e-4, err_msg=name)
    assert keras.backend.backend() == "tensorflow"
