"""Evaluates a network over a data set: a confusion matrix and a loss for every event, from which all else follows."""

from dataclasses import dataclass

import keras
import numpy as np

from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.data.sampling import FILLER
from cosmictagger_tf.detector import CLASS_NAMES
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.networks.predictor import Predictor
from cosmictagger_tf.networks.segmentation import Segmenter
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.metrics import measures, metrics_from_counts, named_metrics


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
        named = named_metrics(headline, metrics_from_counts(self.counts.sum(axis=0)))
        return {"loss": float(np.mean(self.losses, dtype=np.float64))} | {n: float(v) for n, v in named.items()}

    def absent(self) -> dict[str, list[int]]:
        """The classes that the truth of the whole set lacks on some planes, and those planes.

        The metrics of such a class are what 0 / 0 counts there, and mean nothing for the network.
        """
        present = self.counts.sum(axis=(0, 3)) > 0
        planes = {name: np.flatnonzero(~present[:, c]).tolist() for c, name in enumerate(CLASS_NAMES)}
        return {name: lacking for name, lacking in planes.items() if lacking}

    def absent_lines(self) -> list[str]:
        """The same as text, a line a class."""
        lines = []
        for name, planes in self.absent().items():
            where = "" if len(planes) == self.counts.shape[1] else f" of plane {', '.join(map(str, planes))}"
            lines.append(f"no {name} pixel in the truth{where}: its metrics there mean nothing")
        return lines


def without_unscored(values: dict, batch: dict, reader: Reader) -> tuple[dict, list[DataError]]:
    """A Batch with fillers in the places of the events for which no metric can be given, and what is wrong with those.

    Args:
        values: the measures of the Batch.
        batch: its entries are those of `reader`.
    """
    entries, pixels = np.asarray(batch["entries"]), np.asarray(values["not_finite"])
    wrong = (entries >= 0) & (pixels.any(axis=1) | ~np.isfinite(np.asarray(values["losses"])))
    errors = []
    for event in np.flatnonzero(wrong):
        plane = int(np.argmax(pixels[event]))
        file, place = reader.place(int(entries[event]))
        count = int(pixels[event, plane])
        errors.append(DataError(file, not_finite(count), place, plane if count else None))
    return {**batch, "entries": np.where(wrong, FILLER, entries)}, errors


def not_finite(pixels: int) -> str:
    """Why an event is not used whose scores on so many pixels of a plane, or whose loss (0 pixels), are no numbers."""
    return _not_finite(f"the scores of {counted(pixels, 'pixel')} are" if pixels else "the loss is")


def head_not_finite(name: str) -> str:
    """Why an event is not used of which a head, "event" or "vertex", gives what is no number."""
    return _not_finite(f"what the {name} head gives is")


def _not_finite(what) -> str:
    half = keras.config.dtype_policy().compute_dtype != "float32"
    return f"{what} not finite: {'use --precision=float32' if half else 'look at its charge, and at the weights'}"


def join(tables: list[EventTable]) -> EventTable:
    """One table of several, in the order of the entries."""
    joined = [np.concatenate([getattr(t, name) for t in tables]) for name in ("entries", "losses", "counts")]
    order = np.argsort(joined[0], kind="stable")
    return EventTable(*(column[order] for column in joined))


def evaluate_all(evaluator: "Evaluator", stream, ranks: Ranks, bad: BadEvents) -> EventTable:
    """The table of every event of a data set, on all ranks; logs the events left out, whose scores are not finite.

    Args:
        evaluator: see Evaluator.
        stream: this rank's part; see data/pipeline.py.
        ranks: share the data set.
        bad: counts the bad events.

    Raises:
        UserError: what stopped the reading.
    """
    tables, unscored = [], []
    for batch in stream.generate():
        table, errors = evaluator.table(batch, stream.reader)
        tables.append(table)
        unscored += errors
        bad.watch(stream.bad_events(len(tables)))
    bad.count(stream.bad_events())
    bad.log_left_out(unscored)
    return join([table for tables in ranks.gather(tables) for table in tables])


class Evaluator(Predictor):
    """Runs a segmenter on Batches in inference mode, compiled once for each padded length, on any Keras backend.

    Args:
        segmenter: see networks/segmentation.py.
        scheme: the loss's balance scheme.
        xla: compile with XLA.
    """

    def __init__(self, segmenter: Segmenter, scheme: str, xla: bool):
        super().__init__(segmenter, xla)
        self.scheme = scheme

    def call(self, batch):
        return measures(self.segmenter(batch, training=False), self.scheme)

    def table(self, batch, reader: Reader) -> tuple[EventTable, list[DataError]]:
        """The table of one Batch, without its fillers, and the events of `reader` left out of it as not finite."""
        values = self.predict_on_batch(batch)
        batch, errors = without_unscored(values, batch, reader)
        return self.table_of(values, batch), errors

    @staticmethod
    def table_of(values: dict, batch) -> EventTable:
        """The table of one Batch, from its measures."""
        entries = np.asarray(batch["entries"])
        real = entries >= 0
        return EventTable(
            entries[real], np.asarray(values["losses"])[real], np.asarray(values["counts"])[real].astype(np.int64)
        )
