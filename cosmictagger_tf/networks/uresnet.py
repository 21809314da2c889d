"""The dense UResNet, 2D and 3D, as a Keras functional model."""

import keras
from keras import ops

from cosmictagger_tf.config import NetworkConfig, check_image_shape
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.blocks import BLOCK_KERNEL, FIRST_KERNEL, Parts, fold, unfold
from cosmictagger_tf.networks.charge import in_typical_charge
from cosmictagger_tf.networks.convolutions import Conv3D
from cosmictagger_tf.networks.heads import with_heads
from cosmictagger_tf.networks.submanifold import submanifold_parts


def build_uresnet(config: NetworkConfig, shape: ImageShape) -> keras.Model:
    """The UResNet of R. Acciarri et al. (SBND), Front. Artif. Intell. 4 (2021) 649917, doi:10.3389/frai.2021.649917.

    Args:
        config: the architecture; conv_mode 2D or 3D.
        shape: of the images that it takes.

    Returns:
        A functional model: images float32 [batch, planes, height, width], in ADC -> logits float32
        [batch, planes, height, width, classes]; with heads a dict, see heads.with_heads.

    Raises:
        ConfigError: network_depth halves an odd size.

    Example:
        >>> network = build_uresnet(NetworkConfig(network_depth=3), ImageShape(3, 64, 128))
        >>> network(np.zeros((1, 3, 64, 128))).shape
        TensorShape([1, 3, 64, 128, 3])
    """
    check_image_shape(shape, 0, config.network_depth)
    images = keras.Input((shape.planes, shape.height, shape.width), dtype="float32", name="images")
    x = fold(in_typical_charge(images) if config.normalise_charge else images)
    if config.submanifold:
        parts: Parts = submanifold_parts(config, shape.planes, x)
    else:
        parts = Parts(config, shape.planes)
        for _ in range(config.network_depth):
            parts = Parts(config, shape.planes, coarser=parts)
    x = pixels_to_logits(parts, ops.expand_dims(x, parts.channels))
    outputs = with_heads(config, parts, x, lambda pixels: unfold(parts.channels_last(pixels), shape.planes))
    return parts.model(images, outputs, "uresnet")


def pixels_to_logits(parts: Parts, x):
    """All layers between the pixels, dense or listed, and their logits; `parts` are those of the finest level."""
    config = parts.config
    x = parts.keep(parts.unit(x, config.n_initial_filters, FIRST_KERNEL, "initial"))
    x = level(parts, x)
    x = parts.blocks(x, config.blocks_final, BLOCK_KERNEL, "final")
    return parts.logits(x)


def filters_at(config: NetworkConfig, depth: int) -> int:
    """Filters at a level: level 1 has twice the initial ones; each next adds them once more, or doubles."""
    if config.growth_rate == "additive":
        return config.n_initial_filters * (1 + depth)
    return config.n_initial_filters * 2**depth


def level(parts: Parts, x):
    """One level of the U and, inside it, all the deeper ones; its Parts note what comes out."""
    parts.decoded = deepest(parts, x) if parts.coarser is None else around_deeper(parts, x)
    return parts.decoded


def around_deeper(parts: Parts, x):
    """A level's way down and way up, and between them all the deeper ones."""
    config, depth, name = parts.config, parts.depth, f"level{parts.depth}"
    early = parts.skip_before_blocks
    before = x
    x = parts.blocks(x, config.blocks_at(depth), BLOCK_KERNEL, f"{name}_down")
    skip = before if early else x
    x = parts.keep(parts.down(x, filters_at(config, depth + 1), f"{name}_downsample"))
    x = level(parts.coarser, x)
    x = parts.keep(parts.up(x, filters_at(config, depth), f"{name}_upsample"))
    x = parts.keep(parts.connect(x, skip, f"{name}_connect")) if early else x
    x = parts.keep(parts.exchange(x, f"{name}_exchange_0")) if config.exchanges_rows_at(depth) else x
    x = parts.blocks(x, config.blocks_at(depth), BLOCK_KERNEL, f"{name}_up")
    return x if early else parts.keep(parts.connect(x, skip, f"{name}_connect"))


def deepest(parts: Parts, x):
    """The deepest level, where the planes are mixed."""
    config = parts.config
    if config.block_concat:
        return bottleneck(parts, x, config.filter_size_deepest)
    if config.conv_mode == "3D":
        return deepest_3d(parts, x)
    x = bottleneck(parts.with_joined_planes(), parts.join_planes(x), config.filter_size_deepest)
    return parts.part_planes(x)


def bottleneck(parts: Parts, x, kernel: int):
    """1x1 to few filters, blocks, 1x1 back."""
    config, filters = parts.config, x.shape[parts.channels]
    x = parts.keep(parts.unit(x, config.bottleneck_deepest, 1, "deepest_bottleneck"))
    x = parts.blocks(x, config.blocks_deepest_layer, kernel, "deepest")
    return parts.keep(parts.unit(x, filters, 1, "deepest_unbottleneck"))


def deepest_3d(parts: Parts, x):
    """The planes as the depth of a 3D convolution: [3,3,3] blocks, or [3,1,1] around [1,k,k] blocks."""
    config, filters = parts.config, x.shape[parts.channels]
    if config.deepest_3d == "bottleneck":
        x = parts.keep(mix(parts, x, config.bottleneck_deepest, (3, 1, 1), "deepest_bottleneck"))
        x = parts.blocks(x, config.blocks_deepest_layer, config.filter_size_deepest, "deepest")
        return parts.keep(mix(parts, x, filters, (3, 1, 1), "deepest_unbottleneck"))
    x = parts.keep(parts.unit(x, config.bottleneck_deepest, 1, "deepest_bottleneck"))
    for i in range(config.blocks_deepest_layer):
        y = x
        x = mix(parts, x, config.bottleneck_deepest, (3, 3, 3), f"deepest_{i}_1")
        if config.residual:
            x = mix(parts, x, config.bottleneck_deepest, (3, 3, 3), f"deepest_{i}_2", activation=False)
            x = parts.activate_sum(x, y, f"deepest_{i}")
        x = parts.keep(x)
    return parts.keep(parts.unit(x, filters, 1, "deepest_unbottleneck"))


def mix(parts: Parts, x, filters: int, kernel, name: str, activation: bool = True):
    """A unit whose convolution runs over the planes as well."""
    last = parts.config.data_format == "channels_last"
    x = unfold(x, parts.planes)
    x = x if last else ops.transpose(x, (0, 2, 1, 3, 4))
    x = Conv3D(filters, kernel, name=f"{name}_conv", **parts.conv_options())(x)
    x = fold(x if last else ops.transpose(x, (0, 2, 1, 3, 4)))
    return parts.finish(x, name, activation)
