"""What is measured of the heads: the class of events, and where their vertices are.

Counts are int32, and sums over events are exact on every backend (exact_sums.py). With C[t, p] the number of events of
true class t that are called p, those of unknown class left out:
    event_accuracy            sum_t C[t, t] / sum C
    event_balanced_accuracy   mean over the classes that there are of C[t, t] / sum_p C[t, p]: at equal priors
    vertex_cell               planes whose greatest cell is that of the vertex, of the planes that have one
    vertex_distance           mean distance of predicted and true vertex, over the planes that have one
Where nothing is counted the value is not a number.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from cosmictagger_tf.detector import EVENT_CLASS_NAMES, N_EVENT_CLASSES, ImageShape
from cosmictagger_tf.networks.segmentation import EVENT, VERTEX
from cosmictagger_tf.training import exact_sums
from cosmictagger_tf.training.event_losses import (
    class_losses,
    detection_losses,
    heatmap_losses,
    near_offset_losses,
    offset_losses,
)
from cosmictagger_tf.training.metrics import plane_key
from cosmictagger_tf.training.vertex_cells import greatest_cells, near_vertices, predicted_vertices, vertex_targets


def class_counts(event_classes, logits):
    """Each event's part of the confusion matrix.

    Args:
        event_classes: int32 [batch], negative where unknown.
        logits: float32 [batch, classes of an event].

    Returns:
        int32 [batch, true class, predicted class]: one 1; nothing but 0 where unknown.
    """
    numbers = ops.arange(N_EVENT_CLASSES, dtype="int32")
    true = ops.cast(event_classes, "int32")[:, None] == numbers
    predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")[:, None] == numbers
    return ops.cast(true[:, :, None] & predicted[:, None, :], "int32")


def vertex_measures(vertex, vertices, cell: float, pixel_size=(1.0, 1.0)) -> dict:
    """How near a vertex head comes to the vertices of events; of several in an event, to the nearest.

    Args:
        vertex: float32 [batch, planes, rows, columns, 3], see heads.with_heads.
        vertices: float32 [batch, V, planes, 2], see vertex_cells.py.
        cell: pixels of a cell's side.
        pixel_size: height and width of a pixel, in the unit that distances are wanted in.

    Returns:
        {"there": int32, whether a plane has a vertex, "right": int32, whether the greatest cell is that of one,
        "distance": float32}, all [batch, planes]; the last two 0 where there is none.
    """
    rows, columns = vertex.shape[2:4]
    targets = vertex_targets(vertices, rows, columns, cell)
    places, _ = predicted_vertices(vertex, cell)
    there = ops.any(targets.there, axis=1)
    same = ops.any(targets.there & (targets.cells == greatest_cells(vertex[..., 0])[:, None]), axis=1)
    away = (places[:, None] - vertices) * ops.convert_to_tensor(pixel_size, "float32")
    squares = ops.where(targets.there, ops.sum(ops.square(away), axis=-1), exact_sums.LARGEST_FLOAT)
    return {
        "there": ops.cast(there, "int32"),
        "right": ops.cast(same, "int32"),
        "distance": ops.where(there, ops.sqrt(ops.min(squares, axis=1)), 0.0),
    }


def head_measures(heads: Mapping[str, Any], batch: dict, shape: ImageShape, design: str = "reference") -> dict:
    """Of each event the losses of the heads, not weighted yet, and what EventMetrics takes.

    Args:
        heads: what they give, by name; see heads.with_heads.
        batch: a Batch with truth: event_classes, vertices and vertices_known.
        shape: of the images.
        design: of the heads, see NetworkConfig.head_design.

    Returns:
        {"class_losses": float32 [batch], "class_counts": see class_counts} where there is a head for the event, and
        {"detection_losses", "offset_losses": float32 [batch], ...: see vertex_measures} where there is one for the
        vertex.
    """
    measured = {}
    if EVENT in heads:
        measured["class_losses"] = class_losses(batch["event_classes"], heads[EVENT])
        measured["class_counts"] = class_counts(batch["event_classes"], heads[EVENT])
    if VERTEX in heads:
        vertex, vertices = heads[VERTEX], batch["vertices"]
        rows, columns = vertex.shape[2:4]
        cell = shape.height / rows
        known = batch["vertices_known"] > 0
        if design == "sites":
            near = near_vertices(vertices, rows, columns, cell)
            measured["detection_losses"] = heatmap_losses(vertex, near, known)
            measured["offset_losses"] = near_offset_losses(vertex, near)
        else:
            targets = vertex_targets(vertices, rows, columns, cell)
            measured["detection_losses"] = detection_losses(vertex, targets, known)
            measured["offset_losses"] = offset_losses(vertex, targets)
        measured |= vertex_measures(vertex, vertices, cell)
    return measured


def event_measures(counts) -> dict[str, float]:
    """The accuracies (see above) from a confusion matrix [true class, predicted class] of integers."""
    counts = np.asarray(counts, np.float64)
    right, true = np.diagonal(counts), counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        recalls = (right / true)[true > 0]
        balanced = recalls.mean() if len(recalls) else float("nan")
        return {"event_accuracy": float(right.sum() / true.sum()), "event_balanced_accuracy": float(balanced)}


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class EventMetrics(keras.metrics.Metric):
    """Streams what class_counts and vertex_measures give; exact as SegmentationMetrics is, by a variable of its kind.

    Args:
        planes: number of wire planes.

    The result is a dict of floats of the host: the measures above, those of the vertex by plane too, and the confusion
    matrix as event_counts/<true class>/<predicted class>.
    """

    def __init__(self, planes: int, name: str = "events", **kwargs):
        super().__init__(name=name, **kwargs)
        self.planes = planes
        # Counts of classes, planes with a vertex, those whose cell is right, and distances.
        self.sizes = (N_EVENT_CLASSES**2, planes, planes, planes)
        self.sums = self.add_variable((exact_sums.DIGITS, sum(self.sizes)), "zeros", dtype="int32", name="event_sums")

    def update_state(self, measured: dict, sample_weight):
        """Adds a batch.

        Args:
            measured: "class_counts" of class_counts, and "there", "right" and "distance" of vertex_measures, or some.
            sample_weight: [batch], 0 for events that do not count.
        """
        kept = ops.cast(sample_weight > 0, "int32")
        batch = ops.shape(kept)[0]
        nothing = ops.zeros((batch, self.planes), "int32")
        counts = measured.get("class_counts", ops.zeros((batch, self.sizes[0]), "int32"))
        distance = ops.cast(measured.get("distance", nothing), "float32")
        # Not a number compares as False.
        distance = ops.where(distance < exact_sums.LARGEST_FLOAT, distance, exact_sums.LARGEST_FLOAT)
        integers = [ops.reshape(counts, (-1, self.sizes[0])), *(measured.get(n, nothing) for n in ("there", "right"))]
        digits = [exact_sums.of_integers(ops.concatenate(integers, axis=1)), exact_sums.of_floats(distance)]
        added = ops.sum(ops.concatenate(digits, axis=-1) * kept[None, :, None], axis=1)
        self.sums.assign(exact_sums.carried(self.sums.value + ops.cast(added, "int32")))

    def result(self):
        """name -> float, see the class."""
        sums = exact_sums.to_floats(np.asarray(self.sums.value))
        counts, there, right, distance = np.split(sums, np.cumsum(self.sizes[:-1]))
        counts = counts.reshape(N_EVENT_CLASSES, N_EVENT_CLASSES)
        values = event_measures(counts)
        with np.errstate(invalid="ignore"):
            for name, summed in (("vertex_cell", right), ("vertex_distance", distance)):
                values[name] = float(summed.sum() / there.sum())
                values |= {plane_key(name, plane): float(v) for plane, v in enumerate(summed / there)}
        for (true, predicted), count in np.ndenumerate(counts):
            values[f"event_counts/{EVENT_CLASS_NAMES[true]}/{EVENT_CLASS_NAMES[predicted]}"] = float(count)
        return values

    def add_ranks(self, ranks):
        """Gives rank 0 the sums of all ranks, and the others nothing; all call it at the same time."""
        (total,) = ranks.sum([np.asarray(self.sums.value)])
        self.sums.assign(exact_sums.carried(total) if ranks.rank == 0 else np.zeros_like(total))

    def get_config(self):
        return {**super().get_config(), "planes": self.planes}
