"""What an evaluation keeps of each event beside its confusion matrices: what was called neutrino, and what heads give.

Also fills the histograms of scores (curves.py) on the way. All of it is of the stored pixels of the image, at the
network's resolution.
"""

import logging
from dataclasses import dataclass, fields

import numpy as np

from cosmictagger_tf.calibration.probabilities import neutrino_probability
from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.data.batch import listed_pixels, real_events
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.data.truth import FEWEST_NEUTRINO_PIXELS
from cosmictagger_tf.detector import NEUTRINO
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.calibrated_segmenter import CalibratedSegmenter
from cosmictagger_tf.inference.evaluate.composition import primary_counts
from cosmictagger_tf.inference.evaluate.curves import ScoreHistogram
from cosmictagger_tf.inference.evaluate.head_details import HeadReader
from cosmictagger_tf.inference.evaluate.reliability import reliability_sums
from cosmictagger_tf.networks.segmentation import VERTEX, scores_of
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
        class_scores: float64 [events, classes of an event], the probabilities by the event head, at equal priors where
            the weights are calibrated; None where the network has none.
        called_classes: int64 [events], the most probable by Calibration.class_probabilities; None likewise.
        vertex_rows: float64 [events], the greatest difference of the planes' predicted vertices in full-resolution
            rows, each plane's own best; NaN where a plane has none. None, as all that follow, where the network has no
            vertex head.
        vertex_agreement: float64 [events], the chance that planes which see one point disagree as much or more as those
            vertices that agree best; NaN where there is no point.
        points: float64 [events, 3], the point of these, apparent, cm; NaN likewise. None where the geometry is unknown.
        vertex_pixels: float64 [events, planes], how far they are from the true ones on each plane, in pixels of the
            file; see vertex_distances.distances.
        vertex_cm: the same in cm; None where neither geometry nor file tells the size of a pixel.
        reliability: float64 [events, bins, 3], of the probabilities that stored pixels are of a neutrino, see
            reliability.reliability_sums; None where they were not summed.
    """

    neutrino_pixels: np.ndarray
    mean_rows: np.ndarray
    spread_rows: np.ndarray
    true_pixels: np.ndarray
    primaries: np.ndarray | None = None
    class_scores: np.ndarray | None = None
    called_classes: np.ndarray | None = None
    vertex_rows: np.ndarray | None = None
    vertex_agreement: np.ndarray | None = None
    points: np.ndarray | None = None
    vertex_pixels: np.ndarray | None = None
    vertex_cm: np.ndarray | None = None
    reliability: np.ndarray | None = None

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
        if self.vertex_agreement is not None:
            quantities["vertex_agreement"] = self.vertex_agreement
        if self.class_scores is not None:
            quantities["probability"] = neutrino_probability(self.class_scores)
        return quantities


class DetailedEvaluator(Evaluator):
    """An Evaluator that also gives "pixel_scores", float32 [batch, planes, P, classes] at the pixels of the lists, and
    "pixel_probabilities", [batch, planes, P], that they are of a neutrino.

    And what the network's heads give, by name, and of a vertex head "vertices" [batch, planes, 2], the best of each
    plane in pixels, and "vertex_scores" [batch, planes].

    Args:
        segmenter: at its working point.
        scheme, xla: see Evaluator.
    """

    segmenter: CalibratedSegmenter

    def __init__(self, segmenter: CalibratedSegmenter, scheme: str, xla: bool):
        super().__init__(segmenter, scheme, xla)

    def call(self, batch):
        segmentation = self.segmenter(batch, training=False)
        logits = self.segmenter.at_listed_pixels(segmentation, batch)
        probabilities = self.segmenter.neutrino_probabilities(logits, segmentation.heads)
        values = {**measures(segmentation, self.scheme), **segmentation.heads}
        values |= {"pixel_scores": scores_of(logits), "pixel_probabilities": probabilities}
        if VERTEX in segmentation.heads:
            vertex = segmentation.heads[VERTEX]
            cell = self.segmenter.shape.height / vertex.shape[2]
            values["vertices"], values["vertex_scores"] = predicted_vertices(vertex, cell)
        return values


def given_quantities(network: NetworkConfig) -> set[str]:
    """The names of what EventDetails.quantities has with such a network."""
    heads = dict.fromkeys(("vertex_rows", "vertex_agreement"), network.vertex_head) | {
        "probability": network.event_head
    }
    return {"pixels", "rows"} | {name for name, there in heads.items() if there}


def details_of(
    batch: dict,
    results: dict,
    heads: HeadReader,
    histogram: ScoreHistogram,
    primaries: Reader | None = None,
) -> EventDetails:
    """The details of a batch's events, without its fillers; also fills the histogram.

    Args:
        batch: a Batch, as numpy arrays.
        results: what a DetailedEvaluator gives of it.
        heads: reads what the network's heads give.
        histogram: gets the neutrino scores and the labels of all stored pixels.
        primaries: see open_primaries; None where the files do not tell.
    """
    coordinates, labels = np.asarray(batch["image_coordinates"]), np.asarray(batch["labels"])
    scores, entries = np.asarray(results["pixel_scores"]), np.asarray(batch["entries"])
    events, planes, listed = real_events(batch), coordinates.shape[1], listed_pixels(batch)
    true_pixels = (np.asarray(batch["label_values"])[events] == NEUTRINO).sum(axis=(1, 2))
    details = EventDetails(
        neutrino_pixels=np.zeros((len(events), planes), np.int64),
        mean_rows=np.full((len(events), planes), np.nan),
        spread_rows=np.full((len(events), planes), np.nan),
        true_pixels=true_pixels,
        primaries=None if primaries is None else np.zeros((len(events), len(PRIMARIES)), np.int64),
        reliability=_reliability(np.asarray(results["pixel_probabilities"])[events], labels[events], listed[events]),
        **heads.columns(batch, results, events),
    )
    for i, event in enumerate(events):
        called = []
        for plane in range(planes):
            real = listed[event, plane]
            given = scores[event, plane][real]
            histogram.fill(plane, given[:, NEUTRINO], labels[event, plane][real])
            pixels = coordinates[event, plane][real][np.argmax(given, axis=-1) == NEUTRINO]
            called.append((pixels[:, 0], pixels[:, 1]))
            details.neutrino_pixels[i, plane] = len(pixels)
            if len(pixels):
                rows = _full_rows(pixels[:, 0] + 0.5, heads.downsample)
                details.mean_rows[i, plane], details.spread_rows[i, plane] = rows.mean(), rows.std()
        if primaries is not None and details.primaries is not None and true_pixels[i] < FEWEST_NEUTRINO_PIXELS:
            try:
                made = primaries.read(int(entries[event])).image
            except DataError as error:
                # The event itself is sound: that nothing is known of what made it is no reason to stop.
                log.info(f"not known what made its pixels: {error}")
                continue
            details.primaries[i] = primary_counts(called, made, heads.downsample)
    return details


def _reliability(probabilities, labels, listed) -> np.ndarray:
    # float64 [events, bins, 3] of [events, planes, P].
    readouts = np.nonzero(listed)[0]
    # Softmax may round beyond 1.
    given = np.minimum(probabilities[listed], 1.0)
    return reliability_sums(given, labels[listed] == NEUTRINO, readouts, len(listed))


def _full_rows(rows, downsample):
    # Of places along time in the network's images, where pixel 5 reaches from 5.0 to 6.0; in the file's rows, of which
    # row 5 is the middle of pixel 5.
    return rows * 2**downsample - 0.5
