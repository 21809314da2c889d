"""Evaluates a network over a data set: a confusion matrix and a loss for every event, from which all else follows."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from cosmictagger_tf.networks.segmentation import Segmentation, Segmenter
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.losses import per_image_loss
from cosmictagger_tf.training.metrics import METRICS, confusion_counts, metrics_from_counts, plane_key
from cosmictagger_tf.training.ranks import Ranks


@dataclass(frozen=True)
class EventTable:
    """What a network did with each event.

    Attributes:
        entries: int64 [events], position in the data set.
        losses: float32 [events].
        counts: int64 [events, planes, true class, predicted class].
    """

    entries: np.ndarray
    losses: np.ndarray
    counts: np.ndarray

    def summary(self) -> dict[str, float]:
        """The metrics by the names of training.metrics.SegmentationMetrics, and "loss"."""
        headline = {name: value.mean(axis=0) for name, value in metrics_from_counts(self.counts).items()}
        pooled = metrics_from_counts(self.counts.sum(axis=0))
        result = {"loss": float(np.mean(self.losses, dtype=np.float64))}
        for name in METRICS:
            result[name] = float(headline[name].mean())
            result[f"pooled/{name}"] = float(pooled[name].mean())
            for plane, value in enumerate(headline[name]):
                result[plane_key(name, plane)] = float(value)
                result[f"pooled/{plane_key(name, plane)}"] = float(pooled[name][plane])
        return result


def measures(found: Segmentation, scheme: str) -> dict:
    """Of each image the loss and the confusion matrices.

    Args:
        found: labels and logits of a batch.
        scheme: the loss's balance scheme.

    Returns:
        {"losses": float32 [batch], "counts": int32 [batch, planes, true, predicted]}.
    """
    return {
        "losses": per_image_loss(found.labels, found.logits, scheme, found.multiplicity),
        "counts": confusion_counts(found.labels, ops.argmax(found.logits, axis=-1), found.multiplicity),
    }


def join(tables: list[EventTable]) -> EventTable:
    """One table of several, in the order of the entries."""
    joined = [np.concatenate([getattr(t, name) for t in tables]) for name in ("entries", "losses", "counts")]
    order = np.argsort(joined[0], kind="stable")
    return EventTable(*(column[order] for column in joined))


def evaluate_all(evaluator: "Evaluator", stream, ranks: Ranks, bad: BadEvents) -> EventTable:
    """The table of every event of a data set, on all ranks.

    Args:
        evaluator: see Evaluator.
        stream: this rank's part; see data/pipeline.py.
        ranks: share the data set.
        bad: counts the bad events.

    Raises:
        UserError: what stopped the reading.
    """
    tables = []
    with stream.errors_reraised():
        for batch in stream.batches.as_numpy_iterator():
            tables.append(evaluator.table(batch))
            bad.watch(stream.met(len(tables)))
    bad.count(stream.met())
    return join([table for tables in ranks.gather(tables) for table in tables])


class Evaluator(keras.Model):
    """Runs a segmenter on Batches in inference mode, compiled once for each padded length, on any Keras backend.

    Args:
        segmenter: see networks/segmentation.py.
        scheme: the loss's balance scheme.
        xla: compile with XLA.
    """

    def __init__(self, segmenter: Segmenter, scheme: str, xla: bool):
        super().__init__()
        self.segmenter, self.scheme = segmenter, scheme
        self.built = True
        self.compile(jit_compile=xla)

    def call(self, batch):
        """{"losses": float32 [batch], "counts": int32 [batch, planes, true, predicted]}."""
        return measures(self.segmenter(batch, training=False), self.scheme)

    def table(self, batch) -> EventTable:
        """The table of one Batch, without its fillers."""
        return self.table_of(self.predict_on_batch(batch), batch)

    @staticmethod
    def table_of(found: dict, batch) -> EventTable:
        """The table of one Batch, of what predict_on_batch found."""
        entries = np.asarray(batch["entries"])
        real = entries >= 0
        return EventTable(
            entries[real], np.asarray(found["losses"])[real], np.asarray(found["counts"])[real].astype(np.int64)
        )
