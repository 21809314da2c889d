"""The yardstick computes what the reference's TensorFlow networks, and ours, compute."""

import numpy as np
import pytest

from cosmictagger_tf.benchmarking.reference_network import build_reference_network, check_reference
from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.build import build_network
from tests.commands import refusal
from tests.networks.battery import as_model

SHAPE = ImageShape(3, 16, 32)
SMALL = {"n_initial_filters": 2, "network_depth": 1, "blocks_per_layer": 1, "blocks_deepest_layer": 1}
SMALL |= {"blocks_final": 1, "bottleneck_deepest": 4, "filter_size_deepest": 3}
X = np.random.default_rng(3).normal(size=(2, 3, 16, 32)).astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {"wiring": "tensorflow"},
        {"wiring": "pytorch", "connections": "sum", "residual": False, "upsampling": "convolutional"},
        {"wiring": "tensorflow", "downsampling": "convolutional", "connections": "none", "bias": False},
    ],
    ids=str,
)
def test_it_has_our_weights_and_gives_our_logits(changes):
    config = NetworkConfig(**SMALL, **changes)
    ours, reference = as_model(build_network(config, SHAPE), SHAPE), build_reference_network(config, SHAPE)
    assert [tuple(w.shape) for w in ours.weights] == [tuple(w.shape) for w in reference.weights]
    reference.set_weights(ours.get_weights())
    np.testing.assert_allclose(reference(X), ours(X), rtol=1e-4, atol=1e-4)


def test_what_the_reference_has_not_is_refused():
    line = refusal("benchmark", "--reference", "--synthetic", "--downsample=4", "--conv_mode=3D", "--network_depth=2")
    assert "--reference: --conv_mode must be '2D'" in line
    with pytest.raises(ConfigError, match="--reference: --event_head must be False"):
        check_reference(NetworkConfig(**SMALL, conv_mode="2D", event_head=True))
