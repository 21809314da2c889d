"""The sparse UResNet, as a Keras functional model: the same U as the dense ones, over lists of sites."""

import math
from dataclasses import replace
from functools import cached_property

import keras
from keras import ops

from cosmictagger_tf.config import NetworkConfig, check_image_shape
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.blocks import BLOCK_KERNEL, FIRST_KERNEL, Parts
from cosmictagger_tf.networks.heads import with_heads
from cosmictagger_tf.networks.pooling import JoinedLogits, SiteAttention, SiteTotals
from cosmictagger_tf.networks.sparse.layers import (
    JoiningConv,
    RepeatedConv,
    RowMaxima,
    RowSpreading,
    SitesToImages,
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
from cosmictagger_tf.networks.uresnet import pixels_to_logits


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
        them) -> logits float32 [n_0, classes] at each site; with heads a dict, see heads.with_heads.

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
    # The deepest level is the dense 3D network's.
    like_3d = replace(config, conv_mode="3D", descend_charge=0.0, head_design="reference")
    parts = Parts(like_3d, shape.planes)
    for _ in range(config.network_depth):
        parts = SparseParts(like_3d, shape, parts, tables)
    logits = pixels_to_logits(parts, tables["values"])
    return parts.model(tables, with_heads(config, parts, logits, lambda sites: sites), "sparse_uresnet")


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
    """Makes the layers of a level of the sparse network, any but the deepest; a tensor is [sites, channels].

    Args:
        config: the architecture.
        shape: of the finest level's images.
        coarser: the Parts of the next level.
        tables: the rulebook's arrays by name.
    """

    def __init__(self, config: NetworkConfig, shape: ImageShape, coarser: Parts, tables: dict):
        super().__init__(config, shape.planes, coarser)
        self.tables, self.above_deepest = tables, coarser.coarser is None
        self.grid, *_, self.deepest = grids(config, shape)[self.depth :]
        # A table with a row for every pixel of the deepest level, which tells how many images there are.
        self.deepest_pixels = tables[f"children_{config.network_depth - 1}"]

    def table(self, name: str):
        """A table of this level."""
        return self.tables[f"{name}_{self.depth}"]

    @cached_property
    def groups(self) -> list:
        """The Groups of the level's sites, computed once for all its normalisations."""
        name = f"groups_{self.depth}_{self.statistics_planes}"
        groups = SiteGroups(self.statistics_planes, name=name)(self.table("images"))
        return [self.keep(each) for each in groups]

    def conv(self, x, filters, kernel, name, **kwargs):
        """A submanifold convolution."""
        layer = SubmanifoldConv(filters, kernel, name=name, **self.weight_options(), **kwargs)
        if kernel == 1:
            return layer(x)
        return layer(x, self.tables["neighbours_first"] if kernel == FIRST_KERNEL else self.table("neighbours"))

    def finish(self, x, name, activation=True):
        """Normalisation and, unless told otherwise, leaky ReLU; as one layer where it can be."""
        if activation and self.config.normalization == "batch":
            return self.normalise(x, f"{name}_norm", self.wiring.slope)
        return super().finish(x, name, activation)

    def activate(self, x, name):
        """Leaky ReLU."""
        return LeakySum(self.wiring.slope, name=name)(x)

    def activate_sum(self, x, y, name):
        """Leaky ReLU of the sum of two, as one."""
        return LeakySum(self.wiring.slope, name=f"{name}_relu")(x, y)

    def add(self, x, y, name):
        """The sum of two. (Keras's own Add refuses tensors without rows.)"""
        return LeakySum(1.0, name=name)(x, y)

    def normalise(self, x, name, slope=1.0):
        """The chosen normalisation over active sites, followed by a leaky ReLU where a slope is given to batch."""
        kind = self.config.normalization
        if kind == "batch":
            return SparseBatchNormalization(slope=slope, name=name, **self.wiring.batch_norm)(x, *self.groups)
        if kind in ("group", "instance"):
            groups = -1 if kind == "instance" else math.gcd(8, x.shape[-1])
            layer = SparseGroupNormalization(groups, self.cells, epsilon=self.wiring.epsilon, name=name)
            return layer(x, self.table("images"), self.deepest_pixels)
        return super().normalise(x, name)

    @property
    def cells(self) -> int:
        """Pixels of an image at the deepest level."""
        return self.deepest.height * self.deepest.width

    def row_maxima(self, x, name):
        """The greatest value of a row's active pixels."""
        layer = RowMaxima(self.grid.height, self.cells, name=f"{name}_maxima")
        return layer(x, self.table("rows"), self.deepest_pixels)

    def spread_rows(self, rows, like, name):
        """Every active pixel of a row gets the row's channels."""
        return RowSpreading(name=f"{name}_spread")(rows, self.table("rows"))

    def to_images(self, x, name):
        """The level's sites as images."""
        finer_last = reversed(range(self.depth, self.config.network_depth))
        children = [self.tables[f"children_{depth}"] for depth in finer_last]
        return SitesToImages(self.deepest.height, self.deepest.width, name=f"{name}_images")(x, *children)

    def attend(self, x, scores, name):
        """The mean over an image's sites, weighted by the softmax of each of H scores: [images, H * channels]."""
        return SiteAttention(self.cells, name=name)(x, scores, self.table("images"), self.deepest_pixels)

    def totals(self, x, name):
        """Of an image how many sites there are, and sum and maximum of x >= 0, of one channel: [images, 3]."""
        return SiteTotals(self.cells, name=name)(x, self.table("images"), self.deepest_pixels)

    def joined(self, logits, event):
        """Logits of sites as far as their readout has a neutrino, by its class's logits [batch, classes]."""
        event = ops.take(event, ops.maximum(self.table("images"), 0) // self.planes, axis=0)
        return JoinedLogits(name="joined")(logits, event)

    def strided(self, x, filters, name):
        """A convolution of size and stride 2."""
        layer = StridedConv(filters, 2, name=name, **self.weight_options())
        return self._coarse(layer(x, self.table("children"), self.table("parents")))

    def pooled(self, x, name):
        """The maximum of each 2x2 block's active pixels."""
        return self._coarse(SparseMaxPooling(name=name)(x, self.table("children"), self.table("parents")))

    def _coarse(self, x):
        """Sites of the next level as its Parts take them: the deepest level's as images."""
        images = (-1, self.deepest.height, self.deepest.width, x.shape[-1])
        return ops.reshape(x, images) if self.above_deepest else x

    def up(self, x, filters, name):
        """From the next level."""
        if self.above_deepest:
            x = ops.reshape(x, (-1, x.shape[-1]))
        layer, size = (TransposedConv, 2) if self.config.upsampling == "convolutional" else (RepeatedConv, 1)
        layer = layer(filters, size, name=f"{name}_conv", **self.weight_options())
        return self.finish(layer(x, self.table("parents"), self.table("children")), name)

    def connect(self, x, skip, name):
        """Joins the way up with the way down; `none` keeps the way up."""
        if self.config.connections != "concat":
            return super().connect(x, skip, name)
        layer = JoiningConv(x.shape[-1], 1, name=f"{name}_conv", **self.weight_options())
        return self.finish(layer(x, skip), name)
