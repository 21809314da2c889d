"""Beginning with the weights of a smaller network."""

import numpy as np
import pytest

from cosmictagger_tf.config import with_changes
from cosmictagger_tf.networks.build import build_network
from cosmictagger_tf.training.checkpoints import load_weights
from cosmictagger_tf.training.finetuning import init_from
from tests.networks.sparse.examples import SHAPE, SMALL, dense_images, random_batch, randomise, rulebook, site_logits


def logits(network, config, batch):
    """Of a batch's images, or of its sites."""
    if config.conv_mode == "sparse":
        return site_logits(network, rulebook(batch, config))
    return network(dense_images(batch)).numpy()


@pytest.mark.parametrize("normalization", ["batch", "layer", "group", "none"])
@pytest.mark.parametrize("conv_mode", ["2D", "3D", "sparse"])
def test_a_grown_network_begins_where_the_smaller_one_ended(tmp_path, conv_mode, normalization):
    small = with_changes(SMALL, conv_mode=conv_mode, normalization=normalization, blocks_per_layer=0, blocks_final=0)
    large = with_changes(small, blocks_by_level=("0", "2"), blocks_deepest_layer=3, blocks_final=1)
    large = with_changes(large, row_exchange=("1",))
    file, batch, said = tmp_path / "small.weights.h5", random_batch(labels=False), []
    first, grown, fresh = build_network(small, SHAPE), build_network(large, SHAPE), build_network(large, SHAPE)
    randomise(first)
    first.save_weights(file)
    init_from(str(file), grown, True, said.append)
    assert "level1_down_0_1_conv" in said[-1]
    expected = logits(first, small, batch)
    # Each new block's leaky ReLU makes the negative part of its input smaller once more, by 0.01.
    load_weights(file, fresh, new_layers=True)
    off, off_otherwise = (np.abs(logits(n, large, batch) - expected).max() / np.ptp(expected) for n in (grown, fresh))
    assert off < 0.2 and off_otherwise > 3 * off
