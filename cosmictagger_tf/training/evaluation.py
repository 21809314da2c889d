"""Evaluates a network over a data set: a confusion matrix and a loss for every event, from which all else follows."""

from dataclasses import dataclass, fields

import keras
import numpy as np

from cosmictagger_tf.calibration.probabilities import neutrino_probability
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.data.sampling import FILLER
from cosmictagger_tf.data.truth import FEWEST_NEUTRINO_PIXELS
from cosmictagger_tf.detector import CLASS_NAMES, NEUTRINO
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.networks.predictor import Predictor
from cosmictagger_tf.networks.segmentation import EVENT, VERTEX, Segmenter, scores_of
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.metrics import measures, metrics_from_counts, named_metrics, plane_key

# Of readouts as wholes, in sets that have some without a neutrino:
# - the neutrino IoU over the readouts that have a neutrino: over the others it is 1 or 0;
# - the mean of two shares: of the readouts with a neutrino that the event head takes for such, and of those without;
# - the mean of these two: what the best checkpoint is chosen by, of a network with an event head.
READOUT_MEASURES = ("neutrino_iou_where_present", "readout_balanced_accuracy", "selection_score")
EQUAL_ODDS = 0.5


def readout_columns(planes: int, event_head: bool) -> list[str]:
    """The names of what EventTable.readout_measures gives, of a network with an event head or without."""
    iou, *of_the_head = READOUT_MEASURES
    return [iou, *(plane_key(iou, plane) for plane in range(planes)), *(of_the_head if event_head else [])]


@dataclass(frozen=True)
class EventTable:
    """What a network did with each event.

    Attributes:
        entries: int64 [events], position in the data set.
        losses: float32 [events].
        counts: int64 [events, planes, true class, predicted class].
        class_scores: float32 [events, classes of an event], by the event head; None where the network has none.
    """

    entries: np.ndarray
    losses: np.ndarray
    counts: np.ndarray
    class_scores: np.ndarray | None = None

    def summary(self) -> dict[str, float]:
        """The metrics by the names of training.metrics.SegmentationMetrics, "loss", and see readout_measures."""
        headline = {name: value.mean(axis=0) for name, value in metrics_from_counts(self.counts).items()}
        named = named_metrics(headline, metrics_from_counts(self.counts.sum(axis=0)))
        named |= {name: value for name, (value,) in self.readout_measures(np.ones((1, len(self.entries)))).items()}
        return {"loss": float(np.mean(self.losses, dtype=np.float64))} | {n: float(v) for n, v in named.items()}

    @property
    def with_neutrino(self) -> np.ndarray:
        """bool [events], those that have a neutrino, see truth.event_class."""
        return self.counts[:, :, NEUTRINO].sum(axis=(1, 2)) >= FEWEST_NEUTRINO_PIXELS

    def readout_measures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """What READOUT_MEASURES and their planes' names are, where some readouts have a neutrino and some have none.

        Args:
            weights: [drawings, events], how often each event counts.

        Returns:
            name -> float64 [drawings], NaN where a drawing lacks what is counted. Without an event head the IoU alone.
        """
        there = self.with_neutrino
        if there.all() or not there.any():
            return {}

        def mean(values, chosen):
            # Not a number where none is drawn.
            with np.errstate(invalid="ignore"):
                return weights[:, chosen] @ values[chosen] / weights[:, chosen].sum(axis=1)

        iou = metrics_from_counts(self.counts)["neutrino_iou"]
        name, accuracy, score = READOUT_MEASURES
        measured = {name: mean(iou.mean(axis=1), there)}
        measured |= {plane_key(name, plane): mean(iou[:, plane], there) for plane in range(iou.shape[1])}
        if self.class_scores is not None:
            called = neutrino_probability(self.class_scores) > EQUAL_ODDS
            measured[accuracy] = (mean(called, there) + mean(~called, ~there)) / 2
            measured[score] = (measured[name] + measured[accuracy]) / 2
        return measured

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
        values: the measures of the Batch, and what heads give of it, as far as it is used.
        batch: its entries are those of `reader`.
    """
    entries, pixels = np.asarray(batch["entries"]), np.asarray(values["not_finite"])
    wrong = {"pixels": pixels.any(axis=1) | ~np.isfinite(np.asarray(values["losses"]))}
    # Evaluator gives the event's class as scores.
    for name, head in ((EVENT, EVENT), ("class_scores", EVENT), (VERTEX, VERTEX)):
        if name in values:
            numbers = np.asarray(values[name]).reshape(len(entries), -1)
            wrong[head] = wrong.get(head, False) | ~np.isfinite(numbers).all(axis=1)
    unscored = (entries >= 0) & np.any(list(wrong.values()), axis=0)
    errors = []
    for event in np.flatnonzero(unscored):
        file, place = reader.place(int(entries[event]))
        if wrong["pixels"][event]:
            plane = int(np.argmax(pixels[event]))
            count = int(pixels[event, plane])
            errors.append(DataError(file, not_finite(count), place, plane if count else None))
        else:
            head = next(name for name, those in wrong.items() if those[event])
            errors.append(DataError(file, head_not_finite(head), place))
    return {**batch, "entries": np.where(unscored, FILLER, entries)}, errors


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
    columns = {field.name: [getattr(table, field.name) for table in tables] for field in fields(EventTable)}
    joined = {name: np.concatenate(column) for name, column in columns.items() if column[0] is not None}
    order = np.argsort(joined["entries"], kind="stable")
    return EventTable(**{name: column[order] for name, column in joined.items()})


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
        segmentation = self.segmenter(batch, training=False)
        values = measures(segmentation, self.scheme)
        return values | ({"class_scores": scores_of(segmentation.heads[EVENT])} if EVENT in segmentation.heads else {})

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
        losses, counts = (np.asarray(values[name])[real] for name in ("losses", "counts"))
        scores = np.asarray(values["class_scores"])[real] if "class_scores" in values else None
        return EventTable(entries[real], losses, counts.astype(np.int64), scores)
