"""The losses of the heads for event and vertex, image by image, as the loss of the pixels is (losses.py).

Definitions follow the reference's branch v2.1, and are pinned by its outputs (tests/parity), but for one: it sums the
squared distances of a batch's vertices, and so gives a batch of twice the size twice the loss. Here the loss of a batch
is the mean of its images' losses, as of all other losses.
"""

from typing import NamedTuple

from keras import ops

from cosmictagger_tf.config import OptimizerConfig
from cosmictagger_tf.training.losses import FOCAL_POWER
from cosmictagger_tf.training.vertex_cells import NearVertices, VertexTargets, at_cells

# Probabilities are kept so far from 0 and 1: the least by which float32 can be below 1, and a little more.
SMALLEST = 1e-7
# The reference's number of planes, by which it multiplies a mean, and the sum of squared distances too.
REFERENCE_PLANES = 3
# Distances are squared up to here, a pixel of a cell of 8, and count as they are beyond.
HUBER = 0.125


class HeadWeights(NamedTuple):
    """Weights of the heads' losses beside that of the pixels; each of the vertex's two parts has one of its own too."""

    event: float = 0.01
    vertex: float = 1.0
    detection: float = 0.1
    offset: float = 0.1

    @classmethod
    def chosen(cls, config: OptimizerConfig) -> "HeadWeights":
        """Those of the options."""
        vertex = config.vertex_loss_weight, config.vertex_detection_weight, config.vertex_offset_weight
        return cls(config.event_loss_weight, *vertex)

    def of(self, measured: dict):
        """float32 [batch], the weighted sum of each event's losses; see event_metrics.head_measures."""
        weights = {
            "class_losses": self.event,
            "detection_losses": self.vertex * self.detection,
            "offset_losses": self.vertex * self.offset,
        }
        return sum(weight * measured[name] for name, weight in weights.items() if name in measured)


def class_losses(event_classes, logits):
    """The cross-entropy of each event's class, 0 where it is unknown.

    Args:
        event_classes: int32 [batch], negative where unknown.
        logits: float32 [batch, classes of an event].

    Returns:
        float32 [batch].
    """
    cross_entropy = ops.sparse_categorical_crossentropy(ops.maximum(event_classes, 0), logits, from_logits=True)
    return ops.where(event_classes >= 0, cross_entropy, 0.0)


def detection_losses(vertex, targets: VertexTargets, known):
    """The focal binary cross-entropy of whether a vertex is in a cell, summed over the cells of all planes.

    Where a vertex is in a cell without a pixel, of which a sparse or submanifold network gives 0, the cell is left out.

    Args:
        vertex: float32 [batch, planes, rows, columns, 3], see heads.with_heads.
        targets: of the same cells.
        known: bool [batch], whether it is known which vertices an event has; where not, its loss is 0.

    Returns:
        float32 [batch].
    """
    given, wanted = vertex[..., 0], targets.detection > 0
    probability = ops.clip(given, SMALLEST, 1 - SMALLEST)
    right = ops.where(wanted, probability, 1 - probability)
    losses = -((1 - right) ** FOCAL_POWER) * ops.log(right)
    losses = ops.where(wanted & (given == 0), 0.0, losses)
    return ops.where(known, ops.sum(losses, axis=(1, 2, 3)), 0.0)


def heatmap_losses(vertex, near: NearVertices, known):
    """Of the vertex head of sites: (heat - p)^2 times the cross-entropy of each cell, summed, a plane's share of it.

    The quality focal loss of X. Li et al., arXiv:2006.04388. Cells without a pixel (value 0) are left out, so a
    vertex with no pixel near it adds nothing.

    Args:
        vertex: float32 [batch, planes, rows, columns, 3], see heads.with_heads.
        near: of the same cells.
        known: bool [batch], whether it is known which vertices an event has; where not, its loss is 0.

    Returns:
        float32 [batch].
    """
    given = vertex[..., 0]
    probability = ops.clip(given, SMALLEST, 1 - SMALLEST)
    losses = -near.heat * ops.log(probability) - (1 - near.heat) * ops.log(1 - probability)
    losses = ops.where(given > 0, losses * ops.square(near.heat - probability), 0.0)
    return ops.where(known, ops.sum(losses, axis=(1, 2, 3)) / vertex.shape[1], 0.0)


def near_offset_losses(vertex, near: NearVertices):
    """Of the vertex head of sites: how far the places are off that the cells near a vertex point to.

    Huber's loss of both distances, in cells, weighted by the heat: a mean over a plane's cells, summed over its planes.

    Args:
        vertex, near: see heatmap_losses.

    Returns:
        float32 [batch].
    """
    weights = ops.where(vertex[..., 0] > 0, near.heat, 0.0)
    away = ops.abs(vertex[..., 1:] - near.offsets)
    losses = ops.sum(ops.where(away < HUBER, ops.square(away) / (2 * HUBER), away - HUBER / 2), axis=-1)
    summed, heat = (ops.sum(each, axis=(2, 3)) for each in (ops.where(weights > 0, losses, 0.0) * weights, weights))
    return ops.sum(ops.where(heat > 0, summed / ops.maximum(heat, 1e-3), 0.0), axis=1)


def offset_losses(vertex, targets: VertexTargets):
    """The squared distance of a vertex from where its cell has it, in cells, summed over vertices and planes, times 3.

    Vertices outside an image, or in a cell without a pixel, are left out.

    Args:
        vertex, targets: see detection_losses.

    Returns:
        float32 [batch].
    """
    here = at_cells(vertex, targets.cells)
    squares = ops.sum(ops.square(here[..., 1:] - targets.offsets), axis=-1)
    counted = targets.there & (here[..., 0] > 0)
    return REFERENCE_PLANES * ops.sum(ops.where(counted, squares, 0.0), axis=(1, 2))
