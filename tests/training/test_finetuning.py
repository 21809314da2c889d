"""Beginning with the weights of a smaller network."""

import numpy as np
import pytest

from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.training.finetuning import init_from
from tests.networks.sparse.examples import randomise

SHAPE = ImageShape(3, 16, 16)
SMALL = NetworkConfig(
    n_initial_filters=2,
    network_depth=2,
    blocks_per_layer=0,
    blocks_deepest_layer=1,
    blocks_final=0,
    bottleneck_deepest=4,
)


@pytest.mark.parametrize("normalization", ["batch", "layer", "group", "none"])
@pytest.mark.parametrize("conv_mode", ["2D", "3D"])
def test_a_grown_network_begins_where_the_smaller_one_ended(tmp_path, conv_mode, normalization):
    small = with_changes(SMALL, conv_mode=conv_mode, normalization=normalization)
    first = build_network(small, SHAPE)
    randomise(first)
    first.save_weights(tmp_path / "small.weights.h5")
    grown = build_network(
        with_changes(small, blocks_by_level=("0", "2"), blocks_deepest_layer=3, blocks_final=1), SHAPE
    )
    said = []
    init_from(str(tmp_path / "small.weights.h5"), grown, True, said.append)
    assert "level1_down_0_1_conv" in said[-1] and "level1_down_0_1_conv" in {layer.name for layer in grown.layers}
    images = np.random.default_rng(1).normal(size=(2, 3, 16, 16)).astype("float32")
    expected = first(images).numpy()
    # Each new block's leaky ReLU makes the negative part of its input smaller once more, by 0.01.
    np.testing.assert_allclose(grown(images), expected, atol=0.05 * np.ptp(expected))
    untouched = build_network(
        with_changes(small, blocks_by_level=("0", "2"), blocks_deepest_layer=3, blocks_final=1), SHAPE
    )
    assert np.abs(untouched(images) - expected).max() > 0.2 * np.ptp(expected)
