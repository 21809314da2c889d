"""Tensors under the reference's names, put into our networks; that these compute the same is in tests/parity."""

import numpy as np
import pytest

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.networks.reference_weights import WeightsDoNotFit, assign_reference_weights, variables
from tests.networks.reference_tensors import as_pytorch, reference_tensors

SMALL = {"n_initial_filters": 2, "network_depth": 1, "blocks_per_layer": 1, "blocks_deepest_layer": 1}
SMALL |= {"blocks_final": 1, "bottleneck_deepest": 4}
NETWORKS = {"2D": {}, "plain": {"residual": False}, "3D": {"conv_mode": "3D", "deepest_3d": "bottleneck"}}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def config(request):
    return NetworkConfig(**SMALL | request.param)


def test_every_tensor_is_put_into_its_variable(config):
    theirs = {name: array + 1 for name, array in reference_tensors(config).items()}
    network = build_network(config, ImageShape(3, 2, 2))
    assign_reference_weights(network, config, theirs | {"initial_convolution.norm.num_batches_tracked": np.array(5)})
    ours = variables(network, config)
    assert len(ours) == len(network.weights) > 20
    for name, variable in ours.items():
        np.testing.assert_array_equal(as_pytorch(np.asarray(variable)), theirs[name], err_msg=name)


def test_what_does_not_fit_is_named(config):
    network = build_network(config, ImageShape(3, 2, 2))
    before = [np.array(w) for w in network.weights]
    weights = reference_tensors(config)
    weights["initial_convolution.conv.bias"] = np.zeros(7)
    weights["stranger"] = np.zeros(3)
    del weights["bottleneck.bias"]
    with pytest.raises(WeightsDoNotFit) as error:
        assign_reference_weights(network, config, weights)
    message = str(error.value)
    assert "3 tensors" in message and "initial_convolution.conv.bias is (7,)" in message
    assert "stranger has no place" in message and "bottleneck.bias is missing" in message
    for old, new in zip(before, network.weights, strict=True):
        np.testing.assert_array_equal(old, new)
