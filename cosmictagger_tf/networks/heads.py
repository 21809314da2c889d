"""What a network gives beside its pixels: the class of the readout, and where the neutrino interacted.

Both heads are those of the reference's branch v2.1; weights are exchanged by networks/reference_weights.py.
"""

from keras import ops

from cosmictagger_tf.detector import N_EVENT_CLASSES
from cosmictagger_tf.networks.blocks import BLOCK_KERNEL, Parts, unfold
from cosmictagger_tf.networks.segmentation import EVENT, PIXELS, VERTEX

# How the names of the heads' layers begin.
LAYERS = ("event_", "vertex_")
# What the vertex head gives of a cell: whether the vertex is in it, and where along time and wires.
N_VERTEX_NUMBERS = 3


def with_heads(parts: Parts, pixels):
    """The outputs of a network.

    Args:
        parts: of the finest level, once the network is built.
        pixels: its logits.

    Returns:
        `pixels` alone; with heads a dict of it under PIXELS and, as far as the config has them, float32
            EVENT     [batch, classes of an event]: logits
            VERTEX    [batch, planes, rows, columns, 3]: of each cell of 2^(network_depth - vertex_depth) pixels a side,
                      between 0 and 1, the probability that the vertex is in it, and its distance from the cell's first
                      row and first column in units of the cell. 0 for cells without a pixel, where those are left out.
    """
    config = parts.config
    outputs = {PIXELS: pixels}
    if config.event_head:
        outputs[EVENT] = event_head(parts.levels[-1])
    if config.vertex_head:
        outputs[VERTEX] = vertex_head(parts.levels[-1 - config.vertex_depth])
    return outputs if len(outputs) > 1 else pixels


def event_head(parts: Parts):
    """The logits of the event's class, from the deepest level, whose planes are joined for it."""
    config, x = parts.config, parts.join_planes(parts.decoded)
    x = ops.stop_gradient(x) if config.event_detach else x
    x = head(parts.with_joined_planes(), x, "event", config.event_filters, config.event_blocks, N_EVENT_CLASSES)
    return ops.mean(parts.channels_last(x), axis=(1, 2))


def vertex_head(parts: Parts):
    """Of each cell whether the vertex is in it and where, plane by plane, from a level on the way up."""
    config, x = parts.config, parts.decoded
    x = ops.stop_gradient(x) if config.vertex_detach else x
    x = head(parts, x, "vertex", config.vertex_filters, config.vertex_blocks, N_VERTEX_NUMBERS)
    return unfold(parts.to_images(ops.sigmoid(x), "vertex"), parts.planes)


def head(parts: Parts, x, name: str, filters: int, blocks: int, numbers: int):
    """1x1 to the head's filters, blocks, 1x1 to its numbers."""
    x = parts.only_active(parts.conv(x, filters, 1, f"{name}_input"), f"{name}_input")
    x = parts.blocks(x, blocks, BLOCK_KERNEL, name)
    return parts.last_conv(x, numbers, f"{name}_output")
