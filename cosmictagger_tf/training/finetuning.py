"""Beginning with weights that were trained before, and training only a part of them."""

import contextlib
import logging
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import keras
from keras import ops

from cosmictagger_tf.config import SHIPPED_WEIGHTS, NetworkConfig, OutputConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError, read_errors
from cosmictagger_tf.networks.segmentation import Segmenter
from cosmictagger_tf.runs import RunFolder, architecture
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.checkpoints.shipped import FOLDER, ShippedModel
from cosmictagger_tf.training.checkpoints.store import WEIGHTS_FILE, CheckpointStore
from cosmictagger_tf.training.checkpoints.weights import CheckpointError, WeightsDoNotFit, load_weights
from cosmictagger_tf.training.run_config import RunConfig

log = logging.getLogger(__name__)


def find_weights(source: str) -> Path:
    """The .weights.h5 file that --init_from means.

    Args:
        source: a name of config.SHIPPED_WEIGHTS, a run's folder (its newest intact checkpoint is taken), a
            checkpoint's folder, or the file itself.

    Raises:
        CheckpointError: nothing of the kind is there.
    """
    if source in SHIPPED_WEIGHTS:
        return ShippedModel(source).path
    path = Path(source)
    with read_errors(path):
        if not path.is_dir():
            return path
        if (path / WEIGHTS_FILE).is_file():
            return path / WEIGHTS_FILE
    store = CheckpointStore(path / "checkpoints")
    manifest = store.newest_valid()
    if manifest is None:
        raise CheckpointError(f"--init_from={source}: holds no intact checkpoint, so it is no run's folder")
    return store.path(manifest["step"]) / WEIGHTS_FILE


def init_from(source: str, network: keras.Model, new_layers: bool = False, other_heads: bool = False):
    """Loads the weights that --init_from means into a network.

    Args:
        source: see find_weights.
        network: of the same layers, but for its heads; takes the weights.
        new_layers: the network may have layers that those weights lack, which stay as they are, but for
            begin_as_identities.
        other_heads: its heads are of another design than those of the weights, and begin fresh.

    Raises:
        CheckpointError: the weights are not there or do not fit.
    """
    file = find_weights(source)
    new = load_weights(file, network, new_layers, heads_differ=True, other_heads=other_heads)
    log.info(f"begins with the weights {file}")
    begin_as_identities(network, new)
    if new:
        log.info(f"begin fresh: {counted(len(new), 'layer')}: {', '.join(new)}")


def begin_from(config: RunConfig, segmenter: Segmenter):
    """What a training with --init_from begins with; see init_from and misfits_explained."""
    source, network, shape = config.train.init_from, config.network, ImageShape(segmenter.shape.planes)
    with misfits_explained(source, network, shape):
        theirs = origin.network if (origin := origin_of(source)) else network
        # Both designs have layers of the same names, some of the same shapes, that mean something else.
        other_heads = theirs.has_heads and network.has_heads and theirs.head_design != network.head_design
        if other_heads:
            log.info(f"left out: the heads of {source}, of --head_design={theirs.head_design}")
        init_from(source, segmenter.network, config.train.init_new_layers, other_heads)


class Origin(NamedTuple):
    """Where weights come from: the architecture, the images' shape where that is known, and the training's flags."""

    network: NetworkConfig
    shape: ImageShape | None
    flagfile: str


def origin_of(source: str | Path) -> Origin | None:
    """The run, or the network that comes with the package, that weights are of; None where that is not known.

    Args:
        source: see find_weights.
    """
    for name in SHIPPED_WEIGHTS:
        if str(source) == name or Path(source) == FOLDER / f"{name}.weights.h5":
            shipped = ShippedModel(name)
            return Origin(shipped.config(NetworkConfig), shipped.image_shape, f"flags/{name}.flags")
    path = Path(source).resolve()
    # <run>/checkpoints/<step>/<file>, and each on the way.
    for place in [path, *path.parents][:4]:
        # A file of that name may be another program's, or a report of evaluate.
        with contextlib.suppress(ConfigError, NotADirectoryError):
            run = RunFolder(OutputConfig(str(place.parent), place.name))
            if run.record() is not None:
                return Origin(run.config(NetworkConfig), run.image_shape, str(run.flagfile))
    return None


@contextlib.contextmanager
def misfits_explained(source: str | Path, network: NetworkConfig, shape: ImageShape) -> Iterator[None]:
    """Around the loading of weights: explains why they do not fit.

    Args:
        source: see find_weights.
        network: that they are loaded into.
        shape: of its images, of which the planes matter: weights may fit other planes, and mean nothing there.

    Raises:
        ConfigError: they are of a network for another number of planes.
        CheckpointError: they are of another architecture: the options that differ, and the flagfile to give.
    """
    origin = origin_of(source)
    if origin and origin.shape and origin.shape.planes != shape.planes:
        raise ConfigError(
            f"{source}: is a network for images of {origin.shape.planes} planes, and these have {shape.planes}: number "
            "of planes and order must be those of its training"
        )
    try:
        yield
    except WeightsDoNotFit as error:
        ours, theirs = architecture(network), architecture(origin.network) if origin else {}
        names = [
            f"--{name}={_shown(theirs[name])}, not {_shown(ours[name])}"
            for name in theirs
            if ours[name] != theirs[name]
        ]
        if not origin or not names:
            raise CheckpointError(f"{error}: give the network flags of their training, such as its run.flags") from None
        raise CheckpointError(f"{error}: they are of {'; '.join(names)}: give --flagfile={origin.flagfile}") from None


def _shown(value) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def begin_as_identities(network: keras.Model, new: list[str]):
    """Residual blocks among the new layers begin by adding nothing, so that the network computes what it did before.

    The second normalisation of such a block begins with a scale of 0 (P. Goyal et al., arXiv:1706.02677, section 5.1);
    without normalisation its second convolution begins with a kernel of 0.

    Args:
        network: whose blocks are named as networks/blocks.py names them.
        new: the names of its new layers.
    """
    layers = {layer.name: layer for layer in network.layers if layer.weights}
    for name in new:
        if not (second := re.fullmatch(r"(.*_\d+_2)_(norm|conv)", name)):
            continue
        if second[2] == "norm":
            layers[name].gamma.assign(ops.zeros_like(layers[name].gamma))
        elif f"{second[1]}_norm" not in layers:
            layers[name].kernel.assign(ops.zeros_like(layers[name].kernel))


def freeze_layers(network: keras.Model, patterns: tuple[str, ...]):
    """Keeps layers from being trained; a frozen normalisation uses its moving statistics.

    Args:
        network: with named layers.
        patterns: layer names, or patterns with * and ?; none freezes nothing.

    Raises:
        ConfigError: a pattern matches no layer with weights, or nothing is left to train.
    """
    if not patterns:
        return
    layers = {layer.name: layer for layer in network.layers if layer.weights}
    frozen = set()
    for pattern in patterns:
        matched = {name for name in layers if fnmatchcase(name, pattern)}
        if not matched:
            raise ConfigError(
                f"--freeze={pattern}: matches no layer with weights; there are {', '.join(list(layers)[:4])} ... "
                "(--dry_run lists all)"
            )
        frozen |= matched
    for name in frozen:
        layers[name].trainable = False
    if not network.trainable_variables:
        raise ConfigError(f"--freeze={','.join(patterns)}: nothing is left to train")
    log.info(f"frozen: {counted(len(frozen), 'layer')}: {', '.join(name for name in layers if name in frozen)}")
