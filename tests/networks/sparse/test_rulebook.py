"""The rulebook against a search pixel by pixel, and its two forms against each other."""

import numpy as np
import pytest
import tensorflow as tf

from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.sparse import host_rulebook
from cosmictagger_tf.networks.sparse.buckets import bucket_sizes, fill_up
from cosmictagger_tf.networks.sparse.rulebook import Grid, build_rulebook
from cosmictagger_tf.networks.sparse.sparse_segmenter import SparseSegmenter
from tests.networks.sparse.examples import (
    EXCHANGING,
    SHAPE,
    SMALL,
    dense_images,
    random_batch,
    rulebook,
    sparse_network,
)
from tests.networks.sparse.reference import charge_around


def searched(batch, config, shape):
    """What build_rulebook should find, by dictionaries."""
    images = dense_images(
        {**batch, "image_values": (batch["image_coordinates"][..., 0] >= 0).astype(np.float32)}, shape
    )
    active = images.reshape(-1, shape.height, shape.width) > 0
    charge = charge_around(dense_images(batch, shape)).reshape(active.shape)
    book = {}
    for level in range(config.network_depth):
        sites = [tuple(site) for site in np.argwhere(active)]
        number = {site: i for i, site in enumerate(sites)}

        def window(size, number=number, sites=sites):
            r = size // 2
            steps = [(i, j) for i in range(-r, r + 1) for j in range(-r, r + 1)]
            return np.array([[number.get((m, y + i, x + j), len(sites)) for i, j in steps] for m, y, x in sites])

        height, width = active.shape[1:]
        going = active & (charge >= config.descend_charge) if level == 0 else active
        coarse = going.reshape(-1, height // 2, 2, width // 2, 2).any((2, 4))
        coarse |= level + 1 == config.network_depth
        parents = [tuple(site) for site in np.argwhere(coarse)]
        corners = [(i, j) for i in range(2) for j in range(2)]
        children = [[number.get((m, 2 * y + i, 2 * x + j), len(sites)) for i, j in corners] for m, y, x in parents]
        above = {site: i for i, site in enumerate(parents)}
        if level == 0:
            book["neighbours_first"] = window(5)
        book[f"neighbours_{level}"] = window(3)
        book[f"images_{level}"] = np.array([m for m, _, _ in sites])
        if str(level) in config.row_exchange:
            book[f"rows_{level}"] = np.array([m * len(active[0]) + y for m, y, _ in sites])
        book[f"children_{level}"] = np.array(children)
        places = [(above.get((m, y // 2, x // 2)), 2 * (y % 2) + x % 2) for m, y, x in sites]
        book[f"parents_{level}"] = np.array(
            [4 * len(parents) if parent is None else 4 * parent + which for parent, which in places]
        )
        active = coarse
    return book


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pixels", [3, 40, 300])
@pytest.mark.parametrize("charge", [0.0, 2.0])
def test_it_holds_what_a_search_finds(seed, pixels, charge):
    config = with_changes(SMALL, descend_charge=charge, row_exchange=("1",))
    batch = random_batch(seed, pixels=pixels)
    book, expected = rulebook(batch, config), searched(batch, config, SHAPE)
    for name, table in expected.items():
        np.testing.assert_array_equal(book[name], table.reshape(book[name].shape), err_msg=name)
    sites = np.append(book["values"][:, 0], 0)[book["pixel_sites"]]
    np.testing.assert_array_equal(sites, batch["image_values"])


def test_pixels_at_the_edges_have_no_neighbours_in_other_images():
    edge = [(y, x) for y in (0, SHAPE.height - 1) for x in (0, SHAPE.width - 1)]
    coordinates = np.tile(np.array(edge, np.int32), (2, 3, 1, 1))
    batch = {"image_coordinates": coordinates, "image_values": np.ones((2, 3, 4), np.float32)}
    first = rulebook(batch)["neighbours_first"]
    others = np.delete(first, 12, axis=1)
    assert (others == 24).all() and (first[:, 12] == np.arange(24)).all()


def test_a_pixel_listed_twice_is_one_site_with_the_sum():
    batch = random_batch(1, labels=False)
    twice = {
        "image_coordinates": np.concatenate([batch["image_coordinates"], batch["image_coordinates"][:, :, :7]], axis=2),
        "image_values": np.concatenate([batch["image_values"], np.full((2, 3, 7), 2.0, np.float32)], axis=2),
    }
    once, both = rulebook(batch), rulebook(twice)
    for name in set(once) - {"values", "pixel_sites"}:
        np.testing.assert_array_equal(once[name], both[name], err_msg=name)
    assert both["values"].sum() == pytest.approx(once["values"].sum() + 2 * 3 * 7 * 2.0, rel=1e-5)
    np.testing.assert_array_equal(both["pixel_sites"][:, :, -7:], both["pixel_sites"][:, :, :7])


def test_a_row_that_begins_at_the_edge_is_walked_from_its_first_site():
    # Columns 0, 1 and 3: of the window around column 1, only what is there must be found, in its place.
    coordinates = np.array([[[[4, 0], [4, 1], [4, 3]]]], np.int32)
    shape = ImageShape(1, 8, 8)
    book = rulebook({"image_coordinates": coordinates, "image_values": np.ones((1, 1, 3), np.float32)}, shape=shape)
    assert book["neighbours_first"][1][10:15].tolist() == [3, 0, 1, 3, 2]
    assert book["neighbours_0"][1].tolist() == [3, 3, 3, 0, 1, 3, 3, 3, 3]


def test_the_charge_that_counts_is_that_of_the_window_whatever_its_sign():
    # A pair whose window holds 3 + 4 ADC, over the border of two blocks, and a lone pixel of 6.
    coordinates = np.array([[[[1, 1], [2, 2], [5, 6]]]], np.int32)
    batch = {"image_coordinates": coordinates, "image_values": np.array([[[3.0, -4.0, 6.0]]], np.float32)}
    blocks = {}
    for charge in (0.0, 6.0, 6.5, 7.0, 7.5):
        book = rulebook(batch, with_changes(SMALL, descend_charge=charge), ImageShape(1, 8, 8))
        blocks[charge] = (len(book["children_0"]), (book["parents_0"] < 4 * len(book["children_0"])).tolist())
    assert blocks[0.0] == blocks[6.0] == (3, [True] * 3)
    assert blocks[6.5] == blocks[7.0] == (2, [True, True, False])
    assert blocks[7.5] == (0, [False] * 3)


def test_an_empty_batch_has_no_sites_but_the_deepest():
    book = rulebook({"image_coordinates": np.full((1, 3, 8, 2), -1), "image_values": np.zeros((1, 3, 8), np.float32)})
    assert len(book["values"]) == len(book["parents_1"]) == 0
    assert book["children_1"].tolist() == [[0] * 4] * (3 * 4 * 6)


def test_more_events_than_the_keys_can_number_are_refused():
    pixels = np.full((136, 3, 1, 2), -1, np.int32), np.zeros((136, 3, 1), np.float32)
    with pytest.raises(ConfigError, match="--minibatch_size=136: the sparse network takes at most 135 events"):
        build_rulebook(*pixels, SMALL, ImageShape())
    # An exported model, whose batch size is open.
    specs = tf.TensorSpec((None, 3, None, 2), tf.int32), tf.TensorSpec((None, 3, None), tf.float32)
    built = tf.function(lambda c, v: build_rulebook(c, v, SMALL, ImageShape()), input_signature=specs)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 135 events"):
        built(*pixels)


def test_compiled_in_a_graph_it_is_the_same():
    batch = random_batch(3, labels=False)
    built = tf.function(lambda c, v: build_rulebook(c, v, SMALL, SHAPE))
    for name, table in built(batch["image_coordinates"], batch["image_values"]).items():
        np.testing.assert_array_equal(table, rulebook(batch)[name], err_msg=name)


@pytest.mark.parametrize("charge", [0.0, 2.0])
@pytest.mark.parametrize("pixels", [0, 8, 300])
def test_built_on_the_host_it_is_the_same(pixels, charge):
    config = with_changes(EXCHANGING, descend_charge=charge)
    batch = random_batch(4, events=3, pixels=max(pixels, 8))
    # Events without pixels, first, last and all of them, and pixels that are listed twice.
    batch["image_coordinates"][[0, 2] if pixels else slice(None)] = -1
    batch["image_coordinates"][1, 0, 1:3] = batch["image_coordinates"][1, 0, :1]
    segmenter = SparseSegmenter(sparse_network(config), config, SHAPE)
    prepared = segmenter.prepare(batch)
    for name, table in rulebook(batch, config).items():
        np.testing.assert_array_equal(prepared[name], table, err_msg=name)
        assert prepared[name].dtype == table.dtype == segmenter.prepare.added[name][1], name
        assert len(segmenter.prepare.added[name][0]) == table.ndim, name


def test_on_the_host_one_table_serves_images_of_all_sizes_and_what_charge_is_enough_is_exact():
    rng = np.random.default_rng(6)
    for shape in (ImageShape(1, 8, 8), ImageShape(3, 64, 128), ImageShape(2, 16, 16)):
        flat = np.stack([rng.choice(shape.pixels, 40, replace=False) for _ in range(2 * shape.planes)])
        coordinates = np.stack(np.divmod(flat, shape.width), -1).reshape(2, shape.planes, 40, 2).astype(np.int32)
        values = rng.choice(np.float32([0.1, 0.2, 0.7, 1.1]), coordinates.shape[:3])
        config = with_changes(SMALL, descend_charge=1.1)
        book, host = (
            build(coordinates, values, config, shape) for build in (build_rulebook, host_rulebook.build_rulebook)
        )
        for name, table in book.items():
            np.testing.assert_array_equal(host[name], table, err_msg=f"{name} {shape}")


def test_on_the_host_an_error_leaves_nothing_in_the_table_for_the_next_event():
    grid, sites = Grid(1, 8, 8), np.arange(5)
    with pytest.raises(IndexError):
        host_rulebook.lookup(sites, sites, grid, 1, size=3, shift=10**6)
    assert (host_rulebook.lookup(np.int64([7]), sites, grid, 1) == 1).all()


@pytest.mark.parametrize("charge", [0.0, 2.0])
@pytest.mark.parametrize("pixels", [0, 40, 300])
def test_filled_up_it_says_the_same_of_the_same_sites(pixels, charge):
    config = with_changes(EXCHANGING, descend_charge=charge)
    batch = random_batch(5, pixels=max(pixels, 4), labels=False)
    if not pixels:
        batch["image_coordinates"][:] = -1
        batch["image_values"][:] = 0
    book = rulebook(batch, config)
    filled = fill_up(book, bucket_sizes(book, config), config)
    for name, table in book.items():
        n = len(table)
        of = int(name[-1]) + (name.startswith("parents")) if name[-1].isdigit() else 0
        times = 4 if name.startswith("parents") else 1
        absent, now_absent = (
            times * (len(b[f"images_{of}"]) if of < 2 else len(b["children_1"])) for b in (book, filled)
        )
        if name.startswith(("values", "images", "rows")):
            absent = now_absent = None
        kept = filled[name][:n]
        np.testing.assert_array_equal(np.where(kept == now_absent, absent, kept), table, err_msg=name)
        padding = {"v": 0.0, "i": -1, "r": -1}.get(name[0], now_absent)
        assert name == "pixel_sites" or (filled[name][n:] == padding).all(), name


def test_buckets_are_few_and_hold_every_level():
    config = NetworkConfig(conv_mode="sparse", network_depth=3)
    seen = set()
    for sites in range(600, 6000, 60):
        counts = [sites, int(0.6 * sites), int(0.4 * sites)]
        book = {f"images_{level}": np.zeros(n, np.int32) for level, n in enumerate(counts)}
        sizes = tuple(int(n) for n in bucket_sizes(book, config))
        assert all(size >= n for size, n in zip(sizes, counts, strict=True))
        seen.add(sizes)
    assert 5 <= len(seen) <= 15
    deep = {"images_0": np.zeros(600), "images_1": np.zeros(599), "images_2": np.zeros(598)}
    assert (np.array(bucket_sizes(deep, config)) >= 598).all()


def test_its_depth_is_that_of_the_network():
    deeper = with_changes(SMALL, network_depth=3)
    assert "children_2" in rulebook(random_batch(0), deeper) and "children_2" not in rulebook(random_batch(0))
