"""Networks, batches and models so small that a step takes milliseconds."""

import numpy as np

from cosmictagger_tf.config import NetworkConfig, OptimizerConfig
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.training.model import SegmentationModel
from cosmictagger_tf.training.optimizers import build_optimizer

SHAPE = ImageShape(3, 16, 24)
NETWORK = {
    "n_initial_filters": 2,
    "network_depth": 1,
    "blocks_per_layer": 1,
    "blocks_deepest_layer": 1,
    "blocks_final": 0,
    "residual": False,
    "bottleneck_deepest": 4,
    "filter_size_deepest": 3,
}


def make_event(entry: int, shape=SHAPE, pixels: int = 60) -> Event:
    """A random event; every plane has its own pixels, and classes that follow from the charge."""
    rng = np.random.default_rng([7, entry])
    image, label = [], []
    for _ in range(shape.planes):
        flat = rng.choice(shape.pixels, pixels, replace=False)
        rows, columns = (axis.astype(np.int32) for axis in np.divmod(flat, shape.width))
        charge = rng.exponential(30, pixels).astype(np.float32)
        image.append(PlanePixels(rows, columns, charge))
        label.append(PlanePixels(rows, columns, 1.0 + (charge > 30).astype(np.float32)))
    return Event(entry, (0, 0, entry), tuple(image), tuple(label), shape)


def make_batches(count: int, size: int, first: int = 0, shape=SHAPE) -> list[dict]:
    """`count` batches of `size` events each, none twice."""
    starts = range(first, first + count * size, size)
    return [make_batch([make_event(e, shape) for e in range(i, i + size)], size, shape) for i in starts]


def make_model(optimizer=None, shape=SHAPE, seed=1, xla=False, scale_loss=False, schedule=None, **network):
    """A compiled SegmentationModel; `optimizer` and `network` are options of their configs."""
    import keras

    keras.utils.set_random_seed(seed)
    config = OptimizerConfig(**{"learning_rate": 0.01, **(optimizer or {})})
    segmenter = build_segmenter(NetworkConfig(**{**NETWORK, **network}), shape)
    model = SegmentationModel(segmenter, config.loss_balance_scheme)
    model.compile(
        optimizer=build_optimizer(config, schedule or config.learning_rate, scale_loss),
        jit_compile=xla,
        auto_scale_loss=False,
    )
    model.optimizer.build(model.network.trainable_variables)
    return model


def train_on(model, batches: list[dict]) -> list[float]:
    """One step on each batch, as model.fit makes them; returns the losses."""
    import tensorflow as tf

    losses = []
    model.make_train_function()
    for batch in batches:
        model.reset_metrics()
        data = iter(tf.data.Dataset.from_tensors(batch))
        losses.append(float(model.train_function(data)["loss"]))
    return losses


def weights_of(model) -> np.ndarray:
    """Every weight of the network in one vector."""
    return np.concatenate([np.asarray(w.value).ravel() for w in model.network.weights])
