"""What a calibration keeps of each readout of its validation data: all of its event logits, and some pixels.

For the temperature a sample of the stored pixels of readouts with a neutrino is kept, as many of each true class, each
with the number of pixels that it stands for. For the working points those pixels are kept that some shift may call
neutrino: all of them up to CANDIDATES a plane, beyond that a sample. So what is kept of a readout is bounded, and in
all but its noisiest planes the working points are exact.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cosmictagger_tf.data.batch import listed_pixels, real_events
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.data.truth import event_class
from cosmictagger_tf.detector import COSMIC_ONLY, N_CLASSES, NEUTRINO, ImageShape
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.readouts import read_out
from cosmictagger_tf.networks.predictor import Predictor
from cosmictagger_tf.networks.segmentation import EVENT, PIXELS, VERTEX
from cosmictagger_tf.training.evaluation import without_unscored

# Pixels for the temperature, over all readouts, and the most of one readout.
SAMPLE, MOST_OF_ONE = 1_000_000, 3000
# No pixel is called neutrino whose logit of it is so much below the greatest other one: see choice.grid.
MARGIN = 8.0
CANDIDATES = 4096


@dataclass(frozen=True)
class Pixels:
    """Pixels of readouts.

    Attributes:
        logits: float32 [n, classes of a pixel].
        labels: int8 [n], the true classes.
        weights: float32 [n], how many pixels each stands for.
        readouts: int64 [n], which readout each is of, counted from 0.
        planes: int8 [n].
    """

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    readouts: np.ndarray
    planes: np.ndarray

    @classmethod
    def join(cls, parts: list["Pixels"]) -> "Pixels":
        """Those of several, one after the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def by_readout(self) -> "Pixels":
        """The same, in the order of the readouts."""
        order = np.argsort(self.readouts, kind="stable")
        return Pixels(*(getattr(self, f.name)[order] for f in fields(self)))

    def of(self, readouts: np.ndarray) -> "Pixels":
        """Those of the readouts for which a bool [readouts] is true."""
        chosen = readouts[self.readouts]
        return Pixels(*(getattr(self, f.name)[chosen] for f in fields(self)))


@dataclass(frozen=True)
class Samples:
    """Of validation data, in the order of the entries.

    Attributes:
        entries: int64 [readouts].
        classes: int64 [readouts], the true ones; UNKNOWN_EVENT_CLASS where not known.
        event_logits: float32 [readouts, classes of a readout]; None where the network has no event head.
        true_pixels: int64 [readouts, planes], labelled neutrino.
        vertices: float64 [readouts, 2, planes, 2], the predicted (scored_vertices) and the true one as (row, column)
            in pixels of the file; NaN where a readout has not exactly one. None where the network has no vertex head.
        sample: for the temperature; of readouts that have a neutrino.
        candidates: for the working points.
        joins: whether the pixels' probabilities are multiplied by the event's.
    """

    entries: np.ndarray
    classes: np.ndarray
    event_logits: np.ndarray | None
    true_pixels: np.ndarray
    vertices: np.ndarray | None
    sample: Pixels
    candidates: Pixels
    joins: bool

    @property
    def cosmic_only(self) -> np.ndarray:
        """bool [readouts]."""
        return self.classes == COSMIC_ONLY

    def events_of(self, pixels: Pixels) -> np.ndarray | None:
        """The event logits that join these pixels', float32 [n, classes of a readout]; None where they do not."""
        return self.event_logits[pixels.readouts] if self.joins and self.event_logits is not None else None

    @classmethod
    def join(cls, parts: list["Samples"]) -> "Samples":
        """Those of several parts, by rising entry."""
        entries = np.concatenate([part.entries for part in parts])
        order = np.argsort(entries, kind="stable")
        # Where each readout, counted over all parts, stands in that order.
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        starts = np.cumsum([0, *(len(part.entries) for part in parts[:-1])])

        def pixels(name):
            joined = Pixels.join([getattr(part, name) for part in parts])
            shifts = np.repeat(starts, [len(getattr(part, name).readouts) for part in parts])
            # In the entries' order, whoever read them: sums of them are the same to the last digit.
            return replace(joined, readouts=ranks[joined.readouts + shifts]).by_readout()

        columns: dict[str, Any] = {
            name: None if getattr(parts[0], name) is None else np.concatenate([getattr(p, name) for p in parts])[order]
            for name in ("entries", "classes", "event_logits", "true_pixels", "vertices")
        }
        return cls(**columns, sample=pixels("sample"), candidates=pixels("candidates"), joins=parts[0].joins)


def without_not_finite(batch: dict, outputs: dict, reader: Reader) -> tuple[dict, list[DataError]]:
    """A Batch with fillers in the places of the events of which an output is not finite, and what is wrong with those.

    Args:
        batch: as NumPy arrays.
        outputs: what an OutputsEvaluator gives of it.
        reader: the events are its entries.
    """
    wrong = listed_pixels(batch) & ~np.isfinite(np.asarray(outputs[PIXELS])).all(axis=-1)
    heads = {name: outputs[name] for name in (EVENT, VERTEX) if name in outputs}
    measures = {"not_finite": wrong.sum(axis=-1), "losses": np.zeros(len(wrong)), **heads}
    return without_unscored(measures, batch, reader)


class OutputsEvaluator(Predictor):
    """Gives all outputs of a network by name: of PIXELS float32 [batch, planes, P, classes] at the pixels of the lists,
    of its heads what they give."""

    def call(self, batch):
        logits, heads = self.segmenter.pixel_outputs(batch)
        return {PIXELS: logits, **heads}


def samples_of(batch: dict, outputs: dict, reader: Reader, downsample: int, joins: bool) -> Samples:
    """What is kept of a Batch, without its fillers.

    Args:
        batch: as NumPy arrays; with truth where the network has heads.
        outputs: what an OutputsEvaluator gives of it.
        reader: of the data set.
        downsample: of the batch's coordinates.
        joins: see Samples.
    """
    events = real_events(batch)
    entries = np.asarray(batch["entries"])[events].astype(np.int64)
    true_pixels = (np.asarray(batch["label_values"])[events] == NEUTRINO).sum(axis=2)
    classes = _classes(batch, events, true_pixels)
    pixels, labels = np.asarray(outputs[PIXELS])[events], np.asarray(batch["labels"])[events]
    listed = listed_pixels(batch)[events]
    event_logits = np.asarray(outputs[EVENT])[events] if EVENT in outputs else None
    vertices = None
    if VERTEX in outputs:
        predicted = scored_vertices(np.asarray(outputs[VERTEX])[events], reader.shape)
        true = only_vertices(np.asarray(batch["vertices"])[events]) * 2**downsample
        vertices = np.stack([predicted, true], axis=1)
    budget = int(np.clip(SAMPLE // len(reader), N_CLASSES, MOST_OF_ONE))
    sample, candidates = [_no_pixels()], [_no_pixels()]
    for i, entry in enumerate(entries.tolist()):
        # Neither the batch nor the rank changes what is drawn.
        rng = np.random.default_rng(entry)
        planes = np.nonzero(listed[i])[0]
        mine = pixels[i][listed[i]], labels[i][listed[i]]
        whole = Pixels(*mine, np.ones(len(planes), np.float32), np.full(len(planes), i), planes)
        sample.append(_sampled(whole, budget if classes[i] != COSMIC_ONLY else 0, rng))
        candidates += [_candidates(whole, plane, rng) for plane in range(listed.shape[1])]
    kept = Pixels.join(sample), Pixels.join(candidates)
    return Samples(entries, classes, event_logits, true_pixels, vertices, *kept, joins)


def scored_vertices(cells: np.ndarray, shape: ImageShape) -> np.ndarray:
    """The predicted vertices, float64 [events, planes, 2] in pixels of the file; NaN on planes where it is the other
    planes that tell the place: that says nothing of how precise this one is.

    Args:
        cells: float [events, planes, rows, columns, 3], see heads.with_heads.
        shape: of the file's images.
    """
    readouts = read_out({VERTEX: cells}, shape, len(cells))
    return np.where(np.isnan(readouts.scores)[..., None], np.nan, readouts.vertices)


def _classes(batch, events, true_pixels) -> np.ndarray:
    # int64 [events]; without truth labels tell of cosmic rays only.
    if "event_classes" in batch:
        return np.asarray(batch["event_classes"])[events].astype(np.int64)
    return np.array([event_class(None, int(pixels)) for pixels in true_pixels.sum(axis=1)], np.int64)


def only_vertices(vertices: np.ndarray) -> np.ndarray:
    """float64 [batch, planes, 2] of a Batch's vertices [batch, V, planes, 2]; NaN on planes without one, and in events
    that have several."""
    there = (vertices >= 0).all(axis=-1)
    several = there.any(axis=2).sum(axis=1) > 1
    first = np.where(there[..., None], vertices, -np.inf).max(axis=1).astype(np.float64)
    return np.where(np.isfinite(first) & ~several[:, None, None], first, np.nan)


def _no_pixels() -> Pixels:
    none = np.zeros(0)
    types = np.float32, np.int8, np.float32, np.int64, np.int8
    return Pixels(np.zeros((0, N_CLASSES), np.float32), *(none.astype(each) for each in types[1:]))


def _sampled(pixels, most, rng) -> Pixels:
    # As many of each true class, at most `most` together.
    drawn = [_drawn(np.flatnonzero(pixels.labels == c), most // N_CLASSES, rng) for c in range(N_CLASSES)]
    return _taken(pixels, drawn)


def _candidates(pixels, plane, rng) -> Pixels:
    others = np.delete(pixels.logits, NEUTRINO, axis=1).max(axis=1)
    likely = (pixels.planes == plane) & (pixels.logits[:, NEUTRINO] > others - MARGIN)
    return _taken(pixels, [_drawn(np.flatnonzero(likely), CANDIDATES, rng)])


def _drawn(places, most, rng) -> tuple[np.ndarray, float]:
    # At most so many of the places, and how many each stands for.
    if len(places) <= most:
        return places, 1.0
    return rng.choice(places, most, replace=False), len(places) / most if most else 0.0


def _taken(pixels, drawn) -> Pixels:
    places = np.concatenate([places for places, _ in drawn])
    weights = np.concatenate([np.full(len(places), weight, np.float32) for places, weight in drawn])
    labels, planes = (getattr(pixels, name)[places].astype(np.int8) for name in ("labels", "planes"))
    return Pixels(pixels.logits[places], labels, weights, pixels.readouts[places], planes)
