"""The matrix products inside a sparse network, timed bare: what no implementation by products can go below."""

import math
from collections import Counter
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from cosmictagger_tf.benchmarking.clock import Timing, timed
from cosmictagger_tf.benchmarking.compiled import compiled, wait
from cosmictagger_tf.networks.heads import LAYERS
from cosmictagger_tf.networks.sparse.layers import TransposedConv


class Product(NamedTuple):
    """A convolution as a product [rows, taps * inner] x [taps * inner, outer]."""

    rows: int
    taps: int
    inner: int
    outer: int


def products_of(network: keras.Model, sites: list[int], events: int, head_level: int) -> Counter:
    """How often each product is in a forward pass.

    Args:
        network: sparse.
        sites: of each level, the deepest included, of all events.
        events: how many.
        head_level: of the heads that run over sites, 0 being the finest.
    """
    products: Counter[Product] = Counter()
    for layer in network.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        *window, inner, outer = kernel.shape
        taps = 1
        for size in window:
            taps *= size
        if isinstance(layer, TransposedConv):
            taps, inner, outer = 1, outer, taps * inner
        places = layer.output.shape[1:-1]
        # Row exchanges run over the rows of an event, and a head whose planes are joined over its image.
        if isinstance(layer, (keras.layers.Conv1D, keras.layers.Dense)) or (layer.name.startswith("event_") and places):
            rows = events * math.prod(places)
        else:
            rows = sites[_level(layer.name, len(sites) - 1, head_level)]
        products[Product(rows, taps, inner, outer)] += 1
    return products


def _level(name, deepest, head_level):
    if name.startswith("level"):
        level, _, part = name.removeprefix("level").partition("_")
        # Both convolutions between two levels run over the sites of the coarser one.
        return int(level) + part.startswith(("downsample", "upsample"))
    if name.startswith(LAYERS):
        return head_level
    return deepest if name.startswith("deepest") else 0


def time_products(products: Counter, repeats: int) -> tuple[Timing, Timing]:
    """Seconds of all products of a forward pass, and of a training step: forward, both gradients; as the network
    computes, in its precision."""
    forward, training = np.zeros(4), np.zeros(4)
    for (rows, taps, inner, outer), times in products.items():
        left, right = _random((rows, taps * inner)), _random((taps * inner, outer))
        gathered = _random((rows, taps * outer)) if taps > 1 else None
        gradient, turned = _random((rows, outer)), _random((taps * outer, inner))
        ahead = np.array(timed(_bare_product(left, right, False), repeats))
        back = np.array(timed(_bare_product(gathered if taps > 1 else gradient, turned, False), repeats))
        across = np.array(timed(_bare_product(left, gradient, True), repeats))
        forward += times * ahead
        training += times * (ahead + back + across)
    return Timing(*map(float, forward)), Timing(*map(float, training))


def _random(shape):
    return keras.random.normal(shape, dtype=keras.config.dtype_policy().compute_dtype)


def _bare_product(a, b, transposed):
    product = compiled(lambda a, b: ops.sum(ops.matmul(ops.transpose(a) if transposed else a, b)[:1]))
    return lambda: wait(product(a, b))
