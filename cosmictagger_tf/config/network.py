"""Options of the architecture, and which images it fits."""

from dataclasses import dataclass

from cosmictagger_tf.config.base import Config, option
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.text import counted


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Network: the UResNet's architecture (defaults are the reference's)"""

    conv_mode: str = option("2D", "how the UResNet is computed", choices=("2D", "3D", "sparse"))
    n_initial_filters: int = option(16, "filters of the first convolution", minimum=1)
    network_depth: int = option(6, "how many times the image is halved on the way down", minimum=1, maximum=8)
    blocks_per_layer: int = option(2, "blocks at each level, down and up", minimum=0)
    blocks_by_level: tuple[str, ...] = option(
        (), "blocks of each level, full resolution first, as in 0,1,2,3 for network_depth=4; none = blocks_per_layer"
    )
    blocks_deepest_layer: int = option(5, "blocks at the deepest level", minimum=0)
    blocks_final: int = option(5, "blocks after the way up, before the logits", minimum=0)
    filter_size_deepest: int = option(
        5, "kernel size of the deepest blocks: in 2D, with deepest_3d=bottleneck and with block_concat; odd", minimum=1
    )
    bottleneck_deepest: int = option(256, "filters of the 1x1 bottleneck around the deepest blocks", minimum=1)
    block_concat: bool = option(False, "keep the planes apart at the deepest level (the reference's name for it)")
    deepest_3d: str = option(
        "kernel_3x3x3",
        "3D: how the deepest level mixes the planes; bottleneck = the reference code's [3,1,1] around [1,5,5]",
        choices=("kernel_3x3x3", "bottleneck"),
    )
    row_exchange: tuple[str, ...] = option(
        (),
        "levels, full resolution being 0, at which the planes exchange on the way up what lies in each row, "
        "which is the same drift time on all of them; none = the deepest level alone joins them",
    )
    residual: bool = option(True, "residual blocks (two convolutions and a shortcut) instead of plain ones")
    growth_rate: str = option(
        "additive", "filters grow by n_initial_filters a level, or double", choices=("additive", "multiplicative")
    )
    connections: str = option("concat", "how the way up joins the way down", choices=("concat", "sum", "none"))
    downsampling: str = option("max_pooling", "how a level halves the image", choices=("max_pooling", "convolutional"))
    upsampling: str = option("interpolation", "how a level doubles it", choices=("interpolation", "convolutional"))
    bias: bool = option(True, "convolutions have a bias")
    normalization: str = option(
        "batch", "normalisation after each convolution", choices=("none", "batch", "layer", "group", "instance")
    )
    norm_statistics: str = option(
        "auto",
        "batch statistics of each plane, or of all; auto = as the reference: per_plane in 2D, pooled in 3D",
        choices=("auto", "per_plane", "pooled"),
    )
    wiring: str = option(
        "pytorch",
        "which of the reference's two implementations sets slope, batch-norm constants and the skip connections' place",
        choices=("tensorflow", "pytorch"),
    )
    weight_decay: float = option(0.0, "L2 penalty on the convolutions' kernels", minimum=0.0)
    submanifold: bool = option(
        False,
        "2D, 3D: empty pixels stay empty at each level, and normalisations do not count them; in 3D this is the sparse "
        "network with its weights, computed densely: for GPUs",
    )
    descend_charge: float = option(
        0.0,
        "sparse, or with submanifold: ADC that the 3x3 window around a pixel must hold for its 2x2 block to go down to "
        "the coarser levels; what stays above is judged by its near neighbours alone. 15 leaves most of the noise "
        "there: twice as fast",
        minimum=0.0,
    )
    normalise_charge: bool = option(
        False,
        "each readout's pixels are given in units of its own typical charge (47 ADC in the simulation), so that "
        "neither results nor --descend_charge depend on the scale of the charge",
    )
    data_format: str = option(
        "channels_last", "memory layout of the dense convolutions", choices=("channels_last", "channels_first")
    )
    remat: bool = option(False, "recompute activations in the backward pass: less memory, more time")
    head_design: str = option(
        "reference",
        "of both heads; sites = for sparse networks: what is at a level's pixels, weighted by attention, tells the "
        "event, and each cell near a vertex points to it",
        choices=("reference", "sites"),
    )
    event_head: bool = option(
        False, "a second output, the class of the whole readout: nue CC, numu CC, NC or cosmic rays alone"
    )
    event_filters: int = option(128, "filters of the event head (the reference's n_filters)", minimum=1)
    event_blocks: int = option(
        4, "blocks of the event head (the reference's n_layers); with head_design=sites its dense layers", minimum=0
    )
    event_joins_pixels: bool = option(
        False,
        "a pixel is of a neutrino only as far as the readout has one: its probability is multiplied by the event "
        "head's, so that one decision holds for both",
    )
    event_detach: bool = option(True, "no gradient of the event head enters the network below it")
    vertex_head: bool = option(
        False, "another output, where the neutrino interacted: for each cell of an image, whether and where in it"
    )
    vertex_filters: int = option(128, "filters of the vertex head (the reference's n_filters)", minimum=1)
    vertex_blocks: int = option(4, "blocks of the vertex head (the reference's n_layers)", minimum=0)
    vertex_depth: int = option(
        2,
        "the vertex head's level, counted from the deepest, on the way up; its cells have "
        "2^(network_depth - vertex_depth) pixels a side. With head_design=sites the event head's as well",
        minimum=0,
    )
    vertex_detach: bool = option(True, "no gradient of the vertex head enters the network below it")

    def check(self):
        if self.filter_size_deepest % 2 == 0:
            raise ConfigError(f"--filter_size_deepest={self.filter_size_deepest}: must be odd")
        levels = self.blocks_by_level
        if levels and (len(levels) != self.network_depth or not all(text.isdecimal() for text in levels)):
            raise ConfigError(
                f"--blocks_by_level={','.join(levels)}: must be {counted(self.network_depth, 'number')}, one for each "
                f"level of --network_depth={self.network_depth}"
            )
        if not all(text.isdecimal() and int(text) < self.network_depth for text in self.row_exchange):
            raise ConfigError(
                f"--row_exchange={','.join(self.row_exchange)}: must be levels from 0 to {self.network_depth - 1}, one "
                f"less than --network_depth={self.network_depth}"
            )
        level_is_used = self.vertex_head or (self.event_head and self.head_design == "sites")
        if level_is_used and self.vertex_depth >= self.network_depth:
            raise ConfigError(
                f"--vertex_depth={self.vertex_depth}: must be less than --network_depth={self.network_depth}, so that "
                "a cell has more than one pixel"
            )
        if self.head_design == "sites" and self.has_heads and not self.is_sparse_3d:
            raise ConfigError("--head_design=sites: is for --conv_mode=sparse, or --conv_mode=3D with --submanifold")
        if self.event_joins_pixels and not self.event_head:
            raise ConfigError("--event_joins_pixels: there is no --event_head whose probability it could take")
        if self.conv_mode == "sparse" and self.data_format != "channels_last":
            raise ConfigError("--data_format: is for the dense networks; --conv_mode=sparse has lists, not images")
        if self.submanifold and self.conv_mode == "sparse":
            raise ConfigError(
                "--submanifold: is for the dense networks; --conv_mode=sparse never computes empty pixels"
            )
        if self.submanifold and self.normalization in ("group", "instance"):
            raise ConfigError(
                f"--submanifold --normalization={self.normalization}: would count the empty pixels; take batch, layer "
                "or none, or --conv_mode=sparse"
            )
        if self.descend_charge and self.conv_mode != "sparse" and not self.submanifold:
            raise ConfigError(
                "--descend_charge: is for --conv_mode=sparse or --submanifold; other dense networks compute every pixel"
            )

    @property
    def is_sparse_3d(self) -> bool:
        """Whether it is the sparse network, be it computed over lists of sites or in dense images."""
        return self.conv_mode == "sparse" or (self.conv_mode == "3D" and self.submanifold)

    @property
    def has_heads(self) -> bool:
        """Whether it gives more than its pixels, and so learns from the truth of whole readouts."""
        return self.event_head or self.vertex_head

    def blocks_at(self, depth: int) -> int:
        """How many blocks a level has, on the way down and on the way up alike."""
        return int(self.blocks_by_level[depth]) if self.blocks_by_level else self.blocks_per_layer

    def exchanges_rows_at(self, depth: int) -> bool:
        """Whether the planes exchange their rows at a level."""
        return depth in map(int, self.row_exchange)


def check_image_shape(shape: ImageShape, downsample: int, network_depth: int, flag: str = "downsample"):
    """Raises ConfigError, naming the axis, unless both axes can be halved downsample + network_depth times.

    Args:
        shape: the full-resolution shape, as the file has it.
        downsample: halvings before the network.
        network_depth: halvings inside it; 0 where there is no network.
        flag: the option that gives `downsample`.
    """
    halvings = downsample + network_depth
    for axis, size in (("height (drift time)", shape.height), ("width (wires)", shape.width)):
        if size % 2**halvings:
            most = (size & -size).bit_length() - 1
            depth = f" and --network_depth={network_depth}" if network_depth else ""
            wanted, possible = counted(halvings, "time"), counted(most, "time")
            raise ConfigError(
                f"--{flag}={downsample}{depth}: the image would be halved {wanted}, but its {axis} of {size} "
                f"can be halved only {possible}: {'their sum' if depth else 'it'} must be at most {most}"
            )
