"""Weights from one network into another of the same layers: 3D and sparse ones, whose layers have the same names."""

import keras

from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.text import counted


def copy_weights(source: keras.Model, target: keras.Model):
    """Copies every weight, statistics included, by the names of layer and weight.

    Raises:
        ConfigError: a weight is missing on one side or has another shape; nothing is copied then.
    """
    there, here = (
        {f"{layer.name}/{weight.name}": weight for layer in network.layers for weight in layer.weights}
        for network in (source, target)
    )
    unlike = sorted(there.keys() ^ here.keys())
    unlike += [name for name in here if name in there and here[name].shape != there[name].shape]
    if unlike:
        raise ConfigError(f"the networks differ in {counted(len(unlike), 'weight')}, such as {unlike[0]}")
    for name, weight in here.items():
        weight.assign(there[name])
