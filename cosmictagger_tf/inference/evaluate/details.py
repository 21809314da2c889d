"""What an evaluation keeps of each event beside its confusion matrices: how many pixels were called neutrino, and when.

Also fills the histograms of scores (curves.py) on the way. All of it is of the stored pixels of the image, at the
network's resolution.
"""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.detector import NEUTRINO, PADDING_COORDINATE
from cosmictagger_tf.inference.evaluate.curves import ScoreHistogram
from cosmictagger_tf.networks.segmentation import scores_of
from cosmictagger_tf.training.evaluation import Evaluator
from cosmictagger_tf.training.metrics import measures


@dataclass(frozen=True)
class EventDetails:
    """What was predicted in each event.

    Attributes:
        neutrino_pixels: int64 [events, planes], stored pixels whose predicted class is neutrino.
        mean_rows: float64 [events, planes], their mean drift time in full-resolution rows; NaN where there are none.
        spread_rows: float64 [events, planes], the standard deviation about it.
    """

    neutrino_pixels: np.ndarray
    mean_rows: np.ndarray
    spread_rows: np.ndarray

    @classmethod
    def join(cls, parts: list["EventDetails"]) -> "EventDetails":
        """All of several, one after the other."""
        names = ("neutrino_pixels", "mean_rows", "spread_rows")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def reordered(self, order: np.ndarray) -> "EventDetails":
        """The events at these places: int [events]."""
        return EventDetails(self.neutrino_pixels[order], self.mean_rows[order], self.spread_rows[order])

    def quantities(self) -> dict[str, np.ndarray]:
        """What a cut may look at (config/cuts.py), by name: float64 [events], NaN where there is no such number."""
        return {
            "pixels": self.neutrino_pixels.min(axis=1).astype(np.float64),
            "rows": self.mean_rows.max(axis=1) - self.mean_rows.min(axis=1),
        }


class DetailedEvaluator(Evaluator):
    """An Evaluator that also gives "pixel_scores", float32 [batch, planes, P, classes] at the pixels of the lists."""

    def call(self, batch):
        segmentation = self.segmenter(batch, training=False)
        logits = self.segmenter.at_listed_pixels(segmentation, batch)
        return {**measures(segmentation, self.scheme), "pixel_scores": scores_of(logits)}


def details_of(batch: dict, scores: np.ndarray, downsample: int, histogram: ScoreHistogram) -> EventDetails:
    """The details of a batch's events, without its fillers; also fills the histogram.

    Args:
        batch: a Batch, as numpy arrays.
        scores: float32 [batch, planes, P, classes].
        downsample: of the batch's coordinates.
        histogram: gets the neutrino scores and the labels of all stored pixels.
    """
    coordinates, labels = np.asarray(batch["image_coordinates"]), np.asarray(batch["labels"])
    events, planes = np.flatnonzero(np.asarray(batch["entries"]) >= 0), coordinates.shape[1]
    details = EventDetails(
        np.zeros((len(events), planes), np.int64), *(np.full((len(events), planes), np.nan) for _ in range(2))
    )
    for i, event in enumerate(events):
        for plane in range(planes):
            real = coordinates[event, plane, :, 0] != PADDING_COORDINATE
            listed = scores[event, plane][real]
            histogram.fill(plane, listed[:, NEUTRINO], labels[event, plane][real])
            chosen = np.argmax(listed, axis=-1) == NEUTRINO
            # The middle of a block of 2**downsample rows.
            rows = (coordinates[event, plane, real, 0][chosen] + 0.5) * 2**downsample - 0.5
            details.neutrino_pixels[i, plane] = len(rows)
            if len(rows):
                details.mean_rows[i, plane], details.spread_rows[i, plane] = rows.mean(), rows.std()
    return details
