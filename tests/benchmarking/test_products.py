"""Which products a sparse network consists of: the rows of each are those that its layer runs over."""

import pytest

from cosmictagger_tf.benchmarking.products import products_of
from cosmictagger_tf.config import with_changes
from cosmictagger_tf.networks.build import build_network
from tests.networks.sparse.examples import SHAPE, SMALL

# Sites of the levels 0 and 1, and of the deepest, of 2 events: 3 planes of 4 x 6 pixels each.
SITES = [1000, 300, 2 * 3 * 24]
HEADS = {"event_head": True, "event_filters": 7, "event_blocks": 1}
HEADS |= {"vertex_head": True, "vertex_filters": 11, "vertex_blocks": 1, "vertex_depth": 1}


def products(**changes):
    network = build_network(with_changes(SMALL, residual=False, **changes), SHAPE)
    return products_of(network, SITES, 2, head_level=1)


def test_heads_run_over_their_own_levels():
    heads = products(**HEADS) - products()
    # The vertex head over the sites of its level, the event head over the 4 x 6 pixels that the planes share.
    rows = {(product.inner, product.outer): product.rows for product in heads}
    assert rows == {(6, 11): 300, (11, 11): 300, (11, 3): 300, (3 * 9, 7): 48, (7, 7): 48, (7, 4): 48}
    assert sum(heads.values()) == 6


def test_an_event_head_of_sites_ends_in_layers_that_run_once_an_event():
    heads = products(**HEADS, head_design="sites") - products()
    assert {product.rows for product in heads} == {300, 2}
    assert sorted(product.outer for product in heads if product.rows == 2) == [4, 7]


@pytest.mark.parametrize("changes", [{}, {"row_exchange": ("0",)}], ids=str)
def test_a_forward_pass_has_each_layer_once(changes):
    network = build_network(with_changes(SMALL, **changes), SHAPE)
    counts = products_of(network, SITES, 2, head_level=1)
    assert sum(counts.values()) == sum(hasattr(layer, "kernel") for layer in network.layers)
    assert {product.rows for product in counts} == {*SITES, *((32,) if changes else ())}
