"""What a network gives beside its pixels: the class of the readout, and where the neutrino interacted.

`reference` heads are those of the reference's branch v2.1; weights are exchanged by networks/reference_weights.py.
`sites` heads are for sparse networks; see event_head_of_sites and vertex_head_of_sites.
"""

from keras import layers, ops

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import N_EVENT_CLASSES, NEUTRINO
from cosmictagger_tf.networks.blocks import BLOCK_KERNEL, Parts, unfold
from cosmictagger_tf.networks.pooling import OrLearned
from cosmictagger_tf.networks.segmentation import EVENT, PIXELS, VERTEX

# How the names of the heads' layers begin.
LAYERS = ("event_", "vertex_")
# What the vertex head gives of a cell: whether the vertex is in it, and where along time and wires.
N_VERTEX_NUMBERS = 3
# How many weighted means of a plane's sites the event head takes.
N_MEANS = 4
# Added to probabilities before their logarithm: a tenth of the least that matters.
LEAST = 1e-4
# A cell has a vertex near it as rarely as this at first, 1 %, as its logit (T. Lin et al., arXiv:1708.02002).
RARE = -4.6


def with_heads(config: NetworkConfig, parts: Parts, pixels, as_output):
    """The outputs of a network.

    Args:
        config: the architecture.
        parts: of the finest level, once the network is built.
        pixels: its logits, as its parts have them.
        as_output: makes of them what the network gives.

    Returns:
        `pixels` alone; with heads a dict of it under PIXELS and, as far as the config has them, float32
            EVENT     [batch, classes of an event]: logits
            VERTEX    [batch, planes, rows, columns, 3]: of each cell of 2^(network_depth - vertex_depth) pixels a side
                      the probability that the vertex is in it, and the vertex's distance from the cell's first row and
                      first column in units of the cell. 0 for cells without a pixel, where those are left out. With
                      heads of sites, that it is in the cell or near it, and the distance may be below 0 or above 1.
    """
    if not config.has_heads:
        return as_output(pixels)
    outputs = {}
    if config.head_design == "sites":
        vertex = vertex_head_of_sites(parts.levels[-1 - config.vertex_depth]) if config.vertex_head else None
        if config.event_head:
            outputs[EVENT] = event_head_of_sites(parts, pixels, vertex)
        if vertex is not None:
            outputs[VERTEX] = cells(parts.levels[-1 - config.vertex_depth], vertex)
    else:
        if config.event_head:
            outputs[EVENT] = event_head(parts.levels[-1])
        if config.vertex_head:
            level = parts.levels[-1 - config.vertex_depth]
            outputs[VERTEX] = cells(level, ops.sigmoid(vertex_head(level)))
    if config.event_joins_pixels:
        pixels = parts.joined(pixels, outputs[EVENT])
    return {PIXELS: as_output(pixels), **outputs}


def event_head(parts: Parts):
    """The logits of the event's class, from the deepest level, whose planes are joined for it."""
    config, x = parts.config, parts.join_planes(parts.decoded)
    x = ops.stop_gradient(x) if config.event_detach else x
    x = head(parts.with_joined_planes(), x, "event", config.event_filters, config.event_blocks, N_EVENT_CLASSES)
    return ops.mean(parts.channels_last(x), axis=(1, 2))


def vertex_head(parts: Parts):
    """Of each cell three numbers, plane by plane, from a level on the way up."""
    config, x = parts.config, parts.decoded
    x = ops.stop_gradient(x) if config.vertex_detach else x
    return head(parts, x, "vertex", config.vertex_filters, config.vertex_blocks, N_VERTEX_NUMBERS)


def head(parts: Parts, x, name: str, filters: int, blocks: int, numbers: int):
    """1x1 to the head's filters, blocks, 1x1 to its numbers."""
    x = parts.only_active(parts.conv(x, filters, 1, f"{name}_input"), f"{name}_input")
    x = parts.blocks(x, blocks, BLOCK_KERNEL, name)
    return parts.last_conv(x, numbers, f"{name}_output")


def cells(parts: Parts, vertex):
    """The vertex head's numbers as images, 0 where no pixel is active."""
    return unfold(parts.to_images(vertex, "vertex"), parts.planes)


def vertex_head_of_sites(parts: Parts):
    """Of each cell three numbers, from a level on the way up; those of distance are not bound to the cell."""
    numbers = vertex_head(parts)
    detection, row, column = (parts.channel(numbers, i) for i in range(N_VERTEX_NUMBERS))
    return ops.concatenate([ops.sigmoid(detection + RARE), row + 0.5, column + 0.5], axis=parts.channels)


def event_head_of_sites(parts: Parts, pixels, vertex):
    """The logits of the event's class, from what is at the pixels of each plane; without batch statistics.

    A plane gives means over the sites of a level, weighted by attention, which a small neutrino is not diluted in (M.
    Ilse, J. Tomczak, M. Welling, arXiv:1802.04712); a learned vector where it has none; the deepest level's greatest
    values; and number, sum and maximum of the neutrino's probabilities. Dense layers join the planes.

    Args:
        parts: of the finest level.
        pixels: its logits.
        vertex: None, or what vertex_head_of_sites gives.
    """
    config, level = parts.config, parts.levels[-1 - parts.config.vertex_depth]
    x, deepest = level.decoded, parts.levels[-1].channels_last(parts.levels[-1].decoded)
    x, deepest = (ops.stop_gradient(each) if config.event_detach else each for each in (x, deepest))
    probability = ops.stop_gradient(parts.channel(ops.softmax(pixels, axis=parts.channels), NEUTRINO))
    totals = [parts.totals(probability, "event_pixels")]
    for finer in parts.levels[: config.network_depth - config.vertex_depth]:
        probability = finer.pooled(probability, f"event_pool_{finer.depth}")
        probability = finer.coarser.only_active(probability, f"event_pool_{finer.depth}")
    totals.append(level.totals(probability, "event_cells"))

    seen = [x, ops.log(probability + LEAST)]
    seen += [] if vertex is None else [ops.log(ops.stop_gradient(level.channel(vertex, 0)) + LEAST)]
    x = level.conv(ops.concatenate(seen, axis=level.channels), config.event_filters, 1, "event_input")
    x = level.activate(x, "event_input_relu")
    means = level.attend(x, level.conv(x, N_MEANS, 1, "event_scores"), "event_attention")
    means = OrLearned(name="event_empty")(means, totals[1][:, :1])
    rows = [means, ops.max(deepest, axis=(1, 2)), *(ops.log(each + LEAST) for each in totals)]
    x = ops.concatenate(rows, axis=1)
    x = ops.reshape(x, (-1, parts.planes * x.shape[1]))
    for i in range(config.event_blocks):
        x = parts.activate(layers.Dense(config.event_filters, name=f"event_{i}")(x), f"event_{i}_relu")
    return layers.Dense(N_EVENT_CLASSES, dtype=parts.output_dtype, name="event_output")(x)
