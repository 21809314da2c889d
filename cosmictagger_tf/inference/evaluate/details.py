"""What an evaluation keeps of each event beside its confusion matrices: what was called neutrino, and what heads give.

Also fills the histograms of scores (curves.py) on the way. All of it is of the stored pixels of the image, at the
network's resolution.
"""

import logging
from dataclasses import dataclass, fields

import numpy as np

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.data.truth import COSMIC_ONLY, FEWEST_NEUTRINO_PIXELS
from cosmictagger_tf.detector import NEUTRINO, PADDING_COORDINATE
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.evaluate.composition import primary_counts
from cosmictagger_tf.inference.evaluate.curves import ScoreHistogram
from cosmictagger_tf.networks.segmentation import EVENT, VERTEX, scores_of
from cosmictagger_tf.simulation.cosmics import PRIMARIES
from cosmictagger_tf.training.evaluation import Evaluator
from cosmictagger_tf.training.metrics import measures
from cosmictagger_tf.training.vertex_cells import predicted_vertices

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EventDetails:
    """What was predicted in each event, and what stands against it.

    Attributes:
        neutrino_pixels: int64 [events, planes], stored pixels whose predicted class is neutrino.
        mean_rows: float64 [events, planes], their mean drift time in full-resolution rows; NaN where there are none.
        spread_rows: float64 [events, planes], the standard deviation about it.
        true_pixels: int64 [events], pixels labelled neutrino, on all planes together.
        primaries: int64 [events, PRIMARIES], which primaries made the neutrino pixels of readouts with cosmic rays only
            (composition.py); 0 for the others. None where the files do not tell.
        class_scores: float64 [events, classes of an event], by the event head; None where the network has none.
        vertex_rows: float64 [events], the greatest difference of the planes' predicted vertices in full-resolution
            rows; NaN where a plane has none. None where the network has no vertex head.
    """

    neutrino_pixels: np.ndarray
    mean_rows: np.ndarray
    spread_rows: np.ndarray
    true_pixels: np.ndarray
    primaries: np.ndarray | None = None
    class_scores: np.ndarray | None = None
    vertex_rows: np.ndarray | None = None

    @classmethod
    def join(cls, parts: list["EventDetails"]) -> "EventDetails":
        """All of several, one after the other; they are of one network and one data set."""
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(cls)}
        return cls(**{name: np.concatenate(column) for name, column in columns.items() if column[0] is not None})

    def reordered(self, order: np.ndarray) -> "EventDetails":
        """The events at these places: int [events]."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        return EventDetails(**{name: column[order] for name, column in columns.items() if column is not None})

    def quantities(self) -> dict[str, np.ndarray]:
        """What a cut may look at (config/cuts.py), by name: float64 [events], NaN where there is no such number."""
        quantities = {
            "pixels": self.neutrino_pixels.min(axis=1).astype(np.float64),
            "rows": self.mean_rows.max(axis=1) - self.mean_rows.min(axis=1),
        }
        if self.vertex_rows is not None:
            quantities["vertex_rows"] = self.vertex_rows
        if self.class_scores is not None:
            quantities["probability"] = 1.0 - self.class_scores[:, COSMIC_ONLY]
        return quantities


class DetailedEvaluator(Evaluator):
    """An Evaluator that also gives "pixel_scores", float32 [batch, planes, P, classes] at the pixels of the lists.

    And, where the network has these heads, "class_scores" [batch, classes of an event], "vertices" [batch, planes, 2],
    in pixels, and "vertex_scores" [batch, planes].
    """

    def call(self, batch):
        segmentation = self.segmenter(batch, training=False)
        logits = self.segmenter.at_listed_pixels(segmentation, batch)
        values = {**measures(segmentation, self.scheme), "pixel_scores": scores_of(logits)}
        if EVENT in segmentation.heads:
            values["class_scores"] = scores_of(segmentation.heads[EVENT])
        if VERTEX in segmentation.heads:
            vertex = segmentation.heads[VERTEX]
            cell = self.segmenter.shape.height / vertex.shape[2]
            values["vertices"], values["vertex_scores"] = predicted_vertices(vertex, cell)
        return values


def given_quantities(network: NetworkConfig) -> set[str]:
    """The names of what EventDetails.quantities has with such a network."""
    heads = {"vertex_rows": network.vertex_head, "probability": network.event_head}
    return {"pixels", "rows"} | {name for name, there in heads.items() if there}


def details_of(
    batch: dict, results: dict, downsample: int, histogram: ScoreHistogram, primaries: Reader | None = None
) -> EventDetails:
    """The details of a batch's events, without its fillers; also fills the histogram.

    Args:
        batch: a Batch, as numpy arrays.
        results: what a DetailedEvaluator gives of it.
        downsample: of the batch's coordinates.
        histogram: gets the neutrino scores and the labels of all stored pixels.
        primaries: see open_primaries; None where the files do not tell.
    """
    coordinates, labels = np.asarray(batch["image_coordinates"]), np.asarray(batch["labels"])
    scores, entries = np.asarray(results["pixel_scores"]), np.asarray(batch["entries"])
    events, planes = np.flatnonzero(entries >= 0), coordinates.shape[1]
    true_pixels = (np.asarray(batch["label_values"])[events] == NEUTRINO).sum(axis=(1, 2))
    details = EventDetails(
        neutrino_pixels=np.zeros((len(events), planes), np.int64),
        mean_rows=np.full((len(events), planes), np.nan),
        spread_rows=np.full((len(events), planes), np.nan),
        true_pixels=true_pixels,
        primaries=None if primaries is None else np.zeros((len(events), len(PRIMARIES)), np.int64),
        **_of_heads(results, events, downsample),
    )
    for i, event in enumerate(events):
        called = []
        for plane in range(planes):
            real = coordinates[event, plane, :, 0] != PADDING_COORDINATE
            listed = scores[event, plane][real]
            histogram.fill(plane, listed[:, NEUTRINO], labels[event, plane][real])
            pixels = coordinates[event, plane][real][np.argmax(listed, axis=-1) == NEUTRINO]
            called.append((pixels[:, 0], pixels[:, 1]))
            details.neutrino_pixels[i, plane] = len(pixels)
            if len(pixels):
                rows = _full_rows(pixels[:, 0] + 0.5, downsample)
                details.mean_rows[i, plane], details.spread_rows[i, plane] = rows.mean(), rows.std()
        if primaries is not None and details.primaries is not None and true_pixels[i] < FEWEST_NEUTRINO_PIXELS:
            try:
                made = primaries.read(int(entries[event])).image
            except DataError as error:
                # The event itself is sound: that nothing is known of what made it is no reason to stop.
                log.info(f"not known what made its pixels: {error}")
                continue
            details.primaries[i] = primary_counts(called, made, downsample)
    return details


def _of_heads(results, events, downsample):
    # Arguments of EventDetails.
    given = {}
    if "class_scores" in results:
        given["class_scores"] = np.asarray(results["class_scores"], np.float64)[events]
    if "vertices" in results:
        # A sparse network's empty plane has 0 in every cell.
        there = np.asarray(results["vertex_scores"])[events] > 0
        places = _full_rows(np.asarray(results["vertices"], np.float64)[events, :, 0], downsample)
        places = np.where(there, places, np.nan)
        given["vertex_rows"] = places.max(axis=1) - places.min(axis=1)
    return given


def _full_rows(rows, downsample):
    # Of places along time in the network's images, where pixel 5 reaches from 5.0 to 6.0; in the file's rows, of which
    # row 5 is the middle of pixel 5.
    return rows * 2**downsample - 0.5
