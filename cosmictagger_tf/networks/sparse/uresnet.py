"""The sparse UResNet, as a Keras functional model: the same U as the dense ones, over lists of sites."""

import math
from dataclasses import replace

import keras
from keras import ops

from cosmictagger_tf.config import NetworkConfig, check_image_shape
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.blocks import BLOCK_KERNEL, FIRST_KERNEL, Parts
from cosmictagger_tf.networks.sparse.layers import (
    JoiningConv,
    RepeatedConv,
    RowMaxima,
    RowSpreading,
    SparseMaxPooling,
    StridedConv,
    SubmanifoldConv,
    TransposedConv,
)
from cosmictagger_tf.networks.sparse.normalization import (
    LeakySum,
    SiteGroups,
    SparseBatchNormalization,
    SparseGroupNormalization,
)
from cosmictagger_tf.networks.sparse.rulebook import grids
from cosmictagger_tf.networks.uresnet import level


def build_sparse_uresnet(config: NetworkConfig, shape: ImageShape) -> keras.Model:
    """The UResNet with submanifold convolutions (arXiv:1711.10275) over the active pixels.

    Level by level as in the 3D network, with weights of the same names and shapes: a convolution sees active pixels
    only, a pooling the maximum of the active ones, a normalisation their statistics. The deepest level is dense: all
    its pixels are sites, and its [3,3,3] convolutions mix the planes. On an image whose every pixel is active this is
    the 3D network.

    Args:
        config: the architecture; its data_format has no meaning here.
        shape: of the images.

    Returns:
        A functional model: the arrays of a rulebook by name (see rulebook.build_rulebook; `pixel_sites` is not among
        them) -> logits float32 [n_0, classes] at each site.

    Raises:
        ConfigError: network_depth halves an odd size.

    Example:
        >>> config, shape = NetworkConfig(conv_mode="sparse", network_depth=3), ImageShape(3, 64, 128)
        >>> book = build_rulebook(coordinates, values, config, shape)
        >>> network = build_sparse_uresnet(config, shape)
        >>> network({name: book[name] for name in network.input}).shape
        TensorShape([5210, 3])
    """
    check_image_shape(shape, 0, config.network_depth)
    tables = _inputs(config)
    parts = SparseParts(config, shape, tables)

    x = parts.keep(parts.unit(tables["values"], config.n_initial_filters, FIRST_KERNEL, "initial"))
    x = level(parts, x, 0)
    x = parts.blocks(x, config.blocks_final, BLOCK_KERNEL, "final")
    return parts.model(tables, parts.logits(x), "sparse_uresnet")


def _inputs(config):
    columns: dict[str, int | None] = {"values": 1, "neighbours_first": FIRST_KERNEL**2}
    for depth in range(config.network_depth):
        columns |= {f"neighbours_{depth}": BLOCK_KERNEL**2, f"images_{depth}": None}
        columns |= {f"children_{depth}": 4, f"parents_{depth}": None}
        columns |= {f"rows_{depth}": None} if config.exchanges_rows_at(depth) else {}
    return {
        name: keras.Input((n,) if n else (), dtype="float32" if name == "values" else "int32", name=name)
        for name, n in columns.items()
    }


class SparseParts(Parts):
    """Makes the layers of a sparse network where the dense Parts make those of a dense one.

    A tensor [sites, channels] is of the level that the U has reached; one of rank 4 is of the deepest level, where the
    dense Parts take over.

    Args:
        config: the architecture.
        shape: of the images.
        tables: the rulebook's arrays by name.
    """

    def __init__(self, config: NetworkConfig, shape: ImageShape, tables: dict):
        super().__init__(replace(config, conv_mode="3D", data_format="channels_last", descend_charge=0.0), shape.planes)
        self.tables, self.depth, self.grids = dict(tables), 0, grids(config, shape)
        self.deepest = self.grids[-1]

    def table(self, name: str):
        """A table of the level that the U has reached."""
        return self.tables[f"{name}_{self.depth}"]

    def groups(self, planes: int):
        """The Groups of the sites of the level that the U has reached, computed once for all its normalisations."""
        name = f"groups_{self.depth}_{planes}"
        if name not in self.tables:
            groups = SiteGroups(planes, name=name)(self.table("images"))
            self.tables[name] = [self.keep(each) for each in groups]
        return self.tables[name]

    def conv(self, x, filters, kernel, name, strides=1, **kwargs):
        """A submanifold convolution; with strides=2 one to the next level."""
        if len(x.shape) == 4:
            return super().conv(x, filters, kernel, name, strides, **kwargs)
        options = {"name": name, **self._options(), **kwargs}
        if strides == 2:
            x = StridedConv(filters, 2, **options)(x, self.table("children"), self.table("parents"))
            return self._descended(x)
        layer = SubmanifoldConv(filters, kernel, **options)
        if kernel == 1:
            return layer(x)
        return layer(x, self.tables["neighbours_first"] if kernel == FIRST_KERNEL else self.table("neighbours"))

    def _options(self):
        options = self.conv_options()
        return {name: options[name] for name in ("use_bias", "kernel_regularizer")}

    def unit(self, x, filters, kernel, name, activation=True, planes=None, **kwargs):
        """Convolution, normalisation and, unless told otherwise, leaky ReLU; the latter two as one where it can be."""
        x = self.conv(x, filters, kernel, f"{name}_conv", **kwargs)
        return self._finished(x, name, activation, planes)

    def _finished(self, x, name, activation=True, planes=None):
        fused = activation and self.config.normalization == "batch" and len(x.shape) == 2
        x = self.normalise(x, f"{name}_norm", planes, slope=self.wiring.slope if fused else 1.0)
        return self.activate(x, f"{name}_relu") if activation and not fused else x

    def activate(self, x, name):
        """Leaky ReLU."""
        return LeakySum(self.wiring.slope, name=name)(x) if len(x.shape) == 2 else super().activate(x, name)

    def activate_sum(self, x, y, name):
        """Leaky ReLU of the sum of two, as one."""
        if len(x.shape) == 4:
            return super().activate_sum(x, y, name)
        return LeakySum(self.wiring.slope, name=f"{name}_relu")(x, y)

    def add(self, x, y, name):
        """The sum of two. (Keras's own Add refuses tensors without rows.)"""
        return LeakySum(1.0, name=name)(x, y)

    def normalise(self, x, name, planes=None, slope=1.0):
        """The chosen normalisation over active sites, followed by a leaky ReLU where a slope is given to batch."""
        kind = self.config.normalization
        if len(x.shape) == 4 or kind in ("none", "layer"):
            return super().normalise(x, name, planes)
        if kind == "batch":
            layer = SparseBatchNormalization(slope=slope, name=name, **self.wiring.batch_norm)
            return layer(x, *self.groups(planes or self.statistics_planes))
        groups = -1 if kind == "instance" else math.gcd(8, x.shape[-1])
        layer = SparseGroupNormalization(groups, self.cells, epsilon=self.wiring.epsilon, name=name)
        return layer(x, self.table("images"), self.pixels_of_deepest)

    @property
    def cells(self) -> int:
        """Pixels of an image at the deepest level."""
        return self.deepest.height * self.deepest.width

    @property
    def pixels_of_deepest(self):
        """A table with a row for every pixel of the deepest level, which tells how many images there are."""
        return self.tables[f"children_{self.config.network_depth - 1}"]

    def row_maxima(self, x, name):
        """The greatest value of a row's active pixels."""
        layer = RowMaxima(self.grids[self.depth].height, self.cells, name=f"{name}_maxima")
        return layer(x, self.table("rows"), self.pixels_of_deepest)

    def spread_rows(self, rows, like, name):
        """Every active pixel of a row gets the row's channels."""
        return RowSpreading(name=f"{name}_spread")(rows, self.table("rows"))

    def down(self, x, filters, name):
        """To the next level."""
        if self.config.downsampling == "convolutional":
            return self.unit(x, filters, 2, name, strides=2)
        x = SparseMaxPooling(name=f"{name}_pool")(x, self.table("children"), self.table("parents"))
        return self.unit(self._descended(x), filters, 1, name)

    def _descended(self, x):
        self.depth += 1
        if self.depth < self.config.network_depth:
            return x
        return ops.reshape(x, (-1, self.deepest.height, self.deepest.width, x.shape[-1]))

    def connect(self, x, skip, name):
        """Joins the way up with the way down; `none` keeps the way up."""
        if self.config.connections != "concat":
            return super().connect(x, skip, name)
        x = JoiningConv(x.shape[-1], 1, name=f"{name}_conv", **self._options())(x, skip)
        return self._finished(x, name)

    def up(self, x, filters, name):
        """To the level before."""
        self.depth -= 1
        if len(x.shape) == 4:
            x = ops.reshape(x, (-1, x.shape[-1]))
        layer = TransposedConv if self.config.upsampling == "convolutional" else RepeatedConv
        size = 2 if self.config.upsampling == "convolutional" else 1
        x = layer(filters, size, name=f"{name}_conv", **self._options())(
            x, self.table("parents"), self.table("children")
        )
        return self._finished(x, name)
