"""What is kept of each event of a prediction, out of what a network gives of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from cosmictagger_tf.calibration.working_points import Calibration, WorkingPoint
from cosmictagger_tf.data.batch import listed_pixels, real_events
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.detector import BACKGROUND, COSMIC, NEUTRINO, ImageShape
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.inference.readouts import Readouts, read_out
from cosmictagger_tf.networks.segmentation import EVENT, heads_of, pixels_of
from cosmictagger_tf.training.evaluation import head_not_finite, not_finite

# The classes whose scores are kept, in the order of a score's last axis.
SCORED = (NEUTRINO, COSMIC)
# How the names of the arrays of Readouts begin among those of a part.
READOUT = "readout_"
# The attributes of an event that are one number a plane.
PER_PLANE = ("neutrino_pixels", "mean_rows")


@dataclass(frozen=True)
class Usage:
    """How the outputs of a network are used.

    Attributes:
        shape: of the file's images, at full resolution.
        downsample: of the network.
        calibration: of the weights.
        prior: the experiment's share of readouts with a neutrino; None: the training's.
        cleaned_at: working point that decides which readouts keep pixels in the cleaned image; None = no cleaned image.
    """

    shape: ImageShape
    downsample: int
    calibration: Calibration
    prior: float | None = None
    cleaned_at: WorkingPoint | None = None


@dataclass(frozen=True)
class EventPrediction:
    """What is kept of an event; a plane's pixels are those of the Batch's lists, at the network's resolution.

    Attributes:
        scores: of each plane float32 [pixels, SCORED].
        neutrino_pixels: int64 [planes], those whose greatest score is the neutrino's.
        mean_rows: float64 [planes], their mean drift time in full-resolution rows; NaN where there are none.
        called: of each plane int8 [pixels], the class for the cleaned image; None without one.
        readout: the heads' predictions for this one readout; None where the network has none.
    """

    scores: Sequence[np.ndarray]
    neutrino_pixels: np.ndarray
    mean_rows: np.ndarray
    called: Sequence[np.ndarray] | None = None
    readout: Readouts | None = None


def predictions_of(batch: Mapping, outputs: Mapping, usage: Usage, reader: Reader) -> list[EventPrediction]:
    """What is kept of the events of a Batch, without its fillers.

    Args:
        batch: a Batch, as NumPy arrays.
        outputs: what a PixelPredictor gives of it.
        usage: see there.
        reader: the events are its entries.

    Raises:
        DataError: an output of an event is not finite.
    """
    real = real_events(batch)
    entries = np.asarray(batch["entries"])[real].tolist()
    scores = np.asarray(pixels_of(outputs), np.float32)[real]
    heads = {name: np.asarray(output)[real] for name, output in heads_of(outputs).items()}
    coordinates = np.asarray(batch["image_coordinates"])[real]
    listed = listed_pixels(batch)[real]
    check_finite(scores, listed, heads, reader, entries)
    called: list = [None] * len(real)
    if usage.cleaned_at is not None:
        called = _pixels(called_classes(scores, heads.get(EVENT), usage.calibration, usage.cleaned_at), listed)
    predicted: list = [None] * len(real)
    if heads:
        readouts = read_out(heads, usage.shape, len(real), usage.calibration, usage.prior)
        predicted = [readouts.select(slice(i, i + 1)) for i in range(len(real))]
    neutrino = listed & (np.argmax(scores, axis=-1) == NEUTRINO)
    pixels = neutrino.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        rows = np.sum(coordinates[..., 0] + 0.5, axis=-1, where=neutrino) / pixels
    # In the file's rows, of which row 5 is the middle of pixel 5.
    means = rows * 2**usage.downsample - 0.5
    kept = zip(_pixels(scores[..., SCORED], listed), pixels, means, called, predicted, strict=True)
    return [EventPrediction(*event) for event in kept]


def _pixels(values, listed) -> list:
    # Of each event and plane the values of the pixels that are listed.
    return [[plane[real] for plane, real in zip(*planes, strict=True)] for planes in zip(values, listed, strict=True)]


def check_finite(scores: np.ndarray, listed: np.ndarray, heads: Mapping, reader: Reader, entries: list[int]):
    """Raises DataError for the first event, of these entries, with a score or an output of a head that is not finite.

    Args:
        scores: float32 [events, planes, P, classes].
        listed: bool [events, planes, P], which of them are pixels.
        heads: what the heads give, by name, float [events, ...].
        reader: names the entries.
        entries: of the events.
    """
    wrong = (listed & ~np.isfinite(scores).all(axis=-1)).sum(axis=-1)
    for number, entry in enumerate(entries):
        file, place = reader.place(entry)
        if wrong[number].any():
            plane = int(np.argmax(wrong[number] > 0))
            raise DataError(file, not_finite(int(wrong[number, plane])), place, plane)
        for name, output in heads.items():
            if not np.isfinite(output[number]).all():
                raise DataError(file, head_not_finite(name), place)


def called_classes(
    scores: np.ndarray, event_logits: np.ndarray | None, calibration: Calibration, point: WorkingPoint
) -> np.ndarray:
    """The class of each pixel, int8 [events, ...]: that of its greatest score; all background where nothing is left.

    Args:
        scores: float32 [events, ..., classes of a pixel].
        event_logits: float [events, classes of a readout]; None without an event head.
        calibration: of the weights.
        point: the working point, which keeps some of the readouts.
    """
    called = np.argmax(scores, axis=-1).astype(np.int8)
    if event_logits is not None:
        called[~calibration.kept(point, event_logits)] = BACKGROUND
    return called


def to_arrays(predictions: Sequence[EventPrediction]) -> dict[str, np.ndarray]:
    """Arrays by name, for a file; the planes' pixels one after the other."""
    scores = [plane for event in predictions for plane in event.scores]
    lengths = np.array([[len(plane) for plane in event.scores] for event in predictions], np.int64)
    arrays = {"lengths": lengths, "scores": np.concatenate(scores)}
    arrays |= {name: np.stack([getattr(event, name) for event in predictions]) for name in PER_PLANE}
    called = [plane for event in predictions for plane in event.called or ()]
    if called:
        arrays["called"] = np.concatenate(called)
    predicted = [event.readout for event in predictions if event.readout is not None]
    if predicted:
        readouts = Readouts.join(predicted)
        arrays |= {READOUT + f.name: getattr(readouts, f.name) for f in fields(Readouts)}
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> list[EventPrediction]:
    """What was given to to_arrays.

    Raises:
        ValueError, KeyError: they are of other lengths, or one is missing.
    """
    lengths = arrays["lengths"]

    def per_event(name):
        pixels = arrays[name]
        if lengths.sum() != len(pixels):
            raise ValueError(f"{name} is of another length")
        pieces = iter(np.split(pixels, np.cumsum(lengths)[:-1]))
        return [[next(pieces) for _ in event] for event in lengths]

    events = len(lengths)
    called = per_event("called") if "called" in arrays else [None] * events
    predicted: list = [None] * events
    if any(name.startswith(READOUT) for name in arrays):
        readouts = Readouts(**{f.name: arrays[READOUT + f.name] for f in fields(Readouts)})
        predicted = [readouts.select(slice(i, i + 1)) for i in range(events)]
    kept = zip(per_event("scores"), *(arrays[name] for name in PER_PLANE), called, predicted, strict=True)
    return [EventPrediction(*event) for event in kept]
