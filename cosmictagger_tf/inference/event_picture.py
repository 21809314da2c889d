"""What is drawn of one event: its pixels, their true and predicted classes and their scores."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cosmictagger_tf.data.augmentation import knows_cathode
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.detector import BACKGROUND, CLASS_COLORS, CLASS_NAMES, NEUTRINO, ImageShape
from cosmictagger_tf.errors import DataError

if TYPE_CHECKING:
    from cosmictagger_tf.networks.predictor import Predictor

WIRES = ("induction", "induction", "collection")
# A stored pixel of the background is noise, and drawn in grey.
DRAWN_COLORS = ("#b5b5b5", *CLASS_COLORS[1:])
# Of stored pixels that no logarithm has a place for, as files without a threshold have them.
NO_CHARGE_COLOR, NO_CHARGE = "#56b4e9", "charge 0 or negative"
# From a grey that can still be seen on white to the neutrino's own colour and darker.
SCORE_COLORS = ("#c9ced6", "#e6b98a", DRAWN_COLORS[NEUTRINO], "#7a1f00")


def plane_name(plane: int) -> str:
    """A plane's number, and which kind of wires it has in a detector of three."""
    return f"plane {plane}" + (f" ({WIRES[plane]})" if plane < len(WIRES) else "")


@dataclass(frozen=True)
class PlanePicture:
    """One plane: pixels that are stored, or that a class other than background is claimed for.

    Attributes:
        rows, columns: float32 [n], the pixels' middles in full-resolution rows (drift time) and columns (wires).
        stored: bool [n], whether the pixel is stored.
        charge: float32 [n], ADC; 0 where nothing is stored.
        truth: int8 [n], class indices, None without labels.
        prediction: int8 [n], None without a network.
        scores: float32 [n], neutrino scores, None without a network.
    """

    rows: np.ndarray
    columns: np.ndarray
    stored: np.ndarray
    charge: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray | None
    scores: np.ndarray | None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def no_charge(self) -> np.ndarray:
        """bool [n]: stored, with a charge of 0 or less."""
        return self.stored & (self.charge <= 0)


@dataclass(frozen=True)
class EventPicture:
    """One event.

    Attributes:
        title: names it.
        planes: one PlanePicture each.
        shape: at full resolution.
        downsample: a pixel spans 2**downsample rows and columns.
    """

    title: str
    planes: tuple[PlanePicture, ...]
    shape: ImageShape
    downsample: int

    @property
    def has_geometry(self) -> bool:
        """Whether cathode and centimetres are known: of SBND's images."""
        return knows_cathode(self.shape)

    @property
    def has_truth(self) -> bool:
        """Whether the file has labels."""
        return self.planes[0].truth is not None

    @property
    def has_prediction(self) -> bool:
        """Whether a network was run."""
        return self.planes[0].prediction is not None

    @property
    def panels(self) -> list[str]:
        """What is drawn of each plane, in order."""
        panels = ["charge", *(["truth"] if self.has_truth else [])]
        return panels + (["prediction", "neutrino score"] if self.has_prediction else [])

    @property
    def has_no_charge(self) -> bool:
        """Whether a stored pixel has a charge of 0 or less."""
        return any(plane.no_charge.any() for plane in self.planes)


def take_picture(title: str, event: Event, predictor: "Predictor | None", downsample: int) -> EventPicture:
    """The picture of an event.

    Args:
        title: names it.
        event: at full resolution.
        predictor: what makes the scores, None for a picture without.
        downsample: of the network.

    Raises:
        DataError: the scores are not finite.
    """
    small = downsample_event(event, downsample)
    scores = predict_scores(predictor, small) if predictor else None
    if scores is not None:
        check_finite(scores, title)
    planes = tuple(
        _plane(small, plane, scores[plane] if scores is not None else None, 2**downsample)
        for plane in range(event.shape.planes)
    )
    return EventPicture(title, planes, event.shape, downsample)


def check_finite(scores: np.ndarray, title: str):
    """Raises DataError where a score [planes, ...] of the event is not finite."""
    # Here, because it imports Keras, which displays without a prediction do without.
    from cosmictagger_tf.training.evaluation import not_finite

    for plane, values in enumerate(scores):
        if wrong := int((~np.isfinite(values)).any(axis=-1).sum()):
            raise DataError(title, not_finite(wrong), plane=plane)


def predict_scores(predictor: "Predictor", event: Event) -> np.ndarray:
    """float32 [planes, height, width, classes] of an event at the network's resolution."""
    batch, prepare = make_batch([event], 1, event.shape), predictor.segmenter.prepare
    return np.asarray(predictor.predict_on_batch(prepare(batch) if prepare else batch)[0], np.float32)


def _plane(event, plane, scores, scale) -> PlanePicture:
    height, width = event.shape.height, event.shape.width
    image = event.image[plane]
    charge = image.dense(height, width)
    stored = np.zeros((height, width), bool)
    stored[image.rows, image.columns] = True
    shown = stored.copy()
    truth = prediction = None
    if event.label is not None:
        truth = event.label[plane].dense(height, width).astype(np.int8)
        shown |= truth != BACKGROUND
    if scores is not None:
        prediction = np.argmax(scores, axis=-1).astype(np.int8)
        shown |= prediction != BACKGROUND
    rows, columns = np.nonzero(shown)

    def at(values):
        return None if values is None else values[rows, columns]

    neutrino = None if scores is None else scores[..., NEUTRINO]
    y, x = ((axis * scale + (scale - 1) / 2).astype(np.float32) for axis in (rows, columns))
    return PlanePicture(y, x, at(stored), at(charge), at(truth), at(prediction), at(neutrino))


def class_label(index: int) -> str:
    """A class's name as legends have it: "noise" for a stored pixel of the background."""
    return "noise, background" if index == BACKGROUND else CLASS_NAMES[index]


def event_name(entry: int, event_id: tuple[int, int, int]) -> str:
    """An event's entry and, where the file has numbers for it, its ids."""
    run, subrun, event = event_id
    return f"entry {entry}" + (f" (run {run}, subrun {subrun}, event {event})" if min(event_id) >= 0 else "")


def charge_label(picture: EventPicture) -> str:
    """What the charge is, with its unit."""
    size = 2**picture.downsample
    return f"ADC, mean of {size} x {size} pixels" if picture.downsample else "ADC"
