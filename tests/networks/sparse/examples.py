"""Small batches of pixel lists, random weights, and networks to try them on."""

import numpy as np
from keras import ops

from cosmictagger_tf.config import NetworkConfig, with_changes
from cosmictagger_tf.data.batch import labels_at_pixels
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.sparse.rulebook import build_rulebook
from cosmictagger_tf.networks.sparse.uresnet import build_sparse_uresnet

SHAPE = ImageShape(3, 16, 24)
SMALL = NetworkConfig(
    conv_mode="sparse",
    n_initial_filters=3,
    network_depth=2,
    blocks_per_layer=1,
    blocks_deepest_layer=1,
    blocks_final=1,
    bottleneck_deepest=5,
)
EXCHANGING = with_changes(SMALL, row_exchange=("0", "1"))


def random_batch(seed=0, events=2, pixels=40, shape=SHAPE, labels=True) -> dict:
    """A Batch of random pixel lists of different lengths, padded; image and label share only most of their pixels."""
    rng = np.random.default_rng(seed)
    batch = {}
    for name, dtype in (("image", np.float32), ("label", np.int32)) if labels else (("image", np.float32),):
        coordinates = np.full((events, shape.planes, pixels + 5, 2), -1, np.int32)
        values = np.zeros((events, shape.planes, pixels + 5), dtype)
        for place in np.ndindex(events, shape.planes):
            n = pixels - sum(place)
            flat = rng.choice(shape.pixels, n, replace=False)
            if name == "label":
                flat[: n // 2] = batch["image_coordinates"][place][: n // 2] @ np.array([shape.width, 1])
                flat = np.unique(flat)
                n = len(flat)
            coordinates[place][:n] = np.stack(np.divmod(flat, shape.width), axis=1)
            values[place][:n] = rng.normal(size=n) if name == "image" else rng.integers(0, 3, n)
        batch |= {f"{name}_coordinates": coordinates, f"{name}_values": values}
    if labels:
        batch["labels"] = labels_at_pixels(batch)
    batch["weights"] = np.ones(events, np.float32)
    batch["entries"] = np.arange(events)
    return batch


def full_batch(seed=0, events=2, shape=SHAPE) -> dict:
    """A Batch in which every pixel is active, in a random order."""
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(shape.pixels) for _ in range(events * shape.planes)])
    coordinates = np.stack(np.divmod(order, shape.width), axis=-1).astype(np.int32)
    values = rng.normal(size=order.shape).astype(np.float32)
    leading = (events, shape.planes, shape.pixels)
    return {"image_coordinates": coordinates.reshape(*leading, 2), "image_values": values.reshape(leading)}


def dense_images(batch, shape=SHAPE, name="image"):
    """[events, planes, height, width] of a Batch's lists; pixels that are listed twice add up."""
    coordinates, values = batch[f"{name}_coordinates"], batch[f"{name}_values"]
    images = np.zeros((*values.shape[:2], shape.height, shape.width), values.dtype)
    for place in np.ndindex(*values.shape[:2]):
        here = coordinates[place][:, 0] >= 0
        np.add.at(images[place], tuple(coordinates[place][here].T), values[place][here])
    return images


def at_pixels(images, batch):
    """[events, planes, P, ...] of dense arrays [events, planes, height, width, ...], at the pixels of the lists."""
    rows, columns = (batch["image_coordinates"][..., axis] for axis in (0, 1))
    event, plane = (index[..., None] for index in np.indices(rows.shape[:2]))
    return images[event, plane, rows, columns]


def randomise(network, seed=0):
    """Weights and statistics that are not those of a new network, so that nothing cancels."""
    rng = np.random.default_rng(seed)
    for weight in network.weights:
        drawn = rng.normal(size=weight.shape)
        if "variance" in weight.path or "gamma" in weight.path:
            drawn = 1 + 0.3 * np.tanh(drawn)
        elif "kernel" in weight.path:
            drawn = drawn / np.sqrt(np.prod(weight.shape[:-1]))
        else:
            drawn = 0.2 * drawn
        weight.assign(drawn.astype(np.float32))


def sparse_network(config=SMALL, shape=SHAPE, seed=0):
    """A sparse network with random weights."""
    network = build_sparse_uresnet(config, shape)
    randomise(network, seed)
    return network


def copy_weights(source, target):
    """Copies every weight, statistics included, by the names of layer and weight, which must be the same."""
    there, here = (
        {f"{layer.name}/{weight.name}": weight for layer in network.layers for weight in layer.weights}
        for network in (source, target)
    )
    assert there.keys() == here.keys()
    for name, weight in here.items():
        weight.assign(there[name])


def rulebook(batch, config=SMALL, shape=SHAPE):
    """The rulebook of a Batch, as NumPy arrays."""
    book = build_rulebook(batch["image_coordinates"], batch["image_values"], config, shape)
    return {name: ops.convert_to_numpy(table) for name, table in book.items()}


def site_logits(network, book, training=False):
    """A sparse network's logits at its sites, NumPy."""
    return ops.convert_to_numpy(network({name: book[name] for name in network.input}, training=training))
