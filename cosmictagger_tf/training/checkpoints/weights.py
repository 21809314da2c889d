"""Files of weights, as Keras writes them: read layer by layer, by name."""

import logging
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np

from cosmictagger_tf.data.tables import BROKEN, open_for_reading
from cosmictagger_tf.errors import UserError, raise_unreadable, read_errors
from cosmictagger_tf.networks import heads
from cosmictagger_tf.text import counted

log = logging.getLogger(__name__)


class CheckpointError(UserError):
    """A checkpoint cannot be used; the message names it and the reason."""


class WeightsDoNotFit(CheckpointError):
    """A file of weights is sound, and of another network."""


def values_of(variable: keras.Variable) -> np.ndarray:
    """A variable's values on the host."""
    return keras.ops.convert_to_numpy(variable.value)


def load_weights(
    file: Path,
    network: keras.Model,
    new_layers: bool = False,
    heads_differ: bool = False,
    other_heads: bool = False,
) -> list[str]:
    """Loads a .weights.h5 file of Keras into a network, layer by layer, by their names.

    Keras's own loading goes by the kind and number of a layer, which change where one is added before it.

    Args:
        file: its groups have the layers' names, as Keras 3 writes them.
        network: takes the weights.
        new_layers: it may have layers that the file lacks or has in another shape, which stay as they are, and the file
            others, which are left out.
        heads_differ: the same of the layers of heads (see networks/heads.py) alone.
        other_heads: those of the file are of another design, so that none is taken, whatever its name and shape.

    Returns:
        The names of those layers.

    Raises:
        WeightsDoNotFit: the weights are of another network; this one is as it was.
        CheckpointError: the file is missing, broken or leads elsewhere, or a weight is not finite; likewise.
        ReadError: the system refuses to read it.
    """
    with read_errors(file):
        if not Path(file).is_file():
            raise CheckpointError(f"weights {file}: no such file")
    layers = {layer.name: layer for layer in network.layers if layer.weights}
    try:
        with open_for_reading(file) as opened:
            not_taken = heads.LAYERS if other_heads else ()
            stored = {name: w for name, w in _stored_layers(opened).items() if not name.startswith(not_taken)}
            new = [name for name, layer in layers.items() if _shapes(stored.get(name, [])) != _shapes(layer.weights)]
            left = [name for name in stored if name not in layers]
            allowed = "" if new_layers else heads.LAYERS if heads_differ else ()
            if len(new) == len(layers) or not all(name.startswith(allowed) for name in [*new, *left]):
                what = f"{new[0]} is not in them, or has another shape" if new else f"it has no {left[0]}"
                number = len(new) + len(left)
                count = f"{counted(number, 'layer')} {'differs' if number == 1 else 'differ'}"
                count = count if len(new) < max(len(layers), 2) else "no layer does"
                raise WeightsDoNotFit(f"weights {file}: do not fit this network ({count}: {what})")
            arrays = {name: [dataset[...] for dataset in stored[name]] for name in layers if name not in new}
    except BROKEN as error:
        raise_unreadable(file, error)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"weights {file}: cannot be read ({reason})") from None
    wrong = [name for name, values in arrays.items() if not all(np.isfinite(value).all() for value in values)]
    if wrong:
        raise CheckpointError(f"weights {file}: those of {wrong[0]} are not finite")
    for name, values in arrays.items():
        layers[name].set_weights(values)
    if left:
        log.info(f"left out, as this network has none: {counted(len(left), 'layer')}: {', '.join(left)}")
    return new


def _stored_layers(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """The weights of each layer that has any, by name, not read yet; raises ValueError where one lies elsewhere."""
    layers = {}
    for group in _groups(file):
        weights = [group[key] for key in sorted(group, key=int)] if group.name.endswith("/vars") else []
        for weight in weights:
            if weight.external or weight.is_virtual:
                raise ValueError(f"{weight.name} lies in another file, which is not read")
        if weights:
            layers[group.attrs["name"]] = weights
    return layers


def _groups(group: h5py.Group) -> Iterator[h5py.Group]:
    """A group and all below it; raises ValueError where a link leads elsewhere."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{group.name}/{name}".strip("/") + " is a link to elsewhere, which is not followed")
        if isinstance(group[name], h5py.Group):
            yield from _groups(group[name])
    yield group


def _shapes(arrays) -> list[tuple[int, ...]]:
    return [tuple(array.shape) for array in arrays]
