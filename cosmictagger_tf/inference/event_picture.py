"""What is drawn of one event: its pixels, their true and predicted classes and their scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.data.augmentation import knows_cathode
from cosmictagger_tf.data.batch import make_batch
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.data.truth import Truth, event_class
from cosmictagger_tf.detector import (
    BACKGROUND,
    CLASS_COLORS,
    CLASS_NAMES,
    COSMIC_ONLY,
    EVENT_CLASS_NAMES,
    NEUTRINO,
    UNKNOWN_EVENT_CLASS,
    ImageShape,
)
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


# Which panels show a vertex, by its name in the legend.
TRUE_VERTEX, PREDICTED_VERTEX = "true vertex", "predicted vertex"
VERTEX_PANELS = {TRUE_VERTEX: ("charge", "truth"), PREDICTED_VERTEX: ("charge", "prediction")}


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
        true_vertices: float64 [V, planes, 2], (row, column) in full-resolution pixels, NaN where it is not in the
            image; V = 0 where there is none, the file does not tell, or there are cosmic rays only.
        vertex: float64 [planes, 2], the predicted one, likewise; None without a vertex head.
        classes: the readout's true class and the event head's prediction; empty where there is neither.
    """

    title: str
    planes: tuple[PlanePicture, ...]
    shape: ImageShape
    downsample: int
    true_vertices: np.ndarray
    vertex: np.ndarray | None = None
    classes: str = ""

    @property
    def heading(self) -> str:
        """The title, and the readout's classes."""
        return f"{self.title}\n{self.classes}" if self.classes else self.title

    def vertices(self, panel: str, plane: int) -> dict[str, np.ndarray]:
        """The vertices that a panel of a plane shows: [n, 2], (row, column) as pixels are drawn, by their name.

        The true ones beside charge and truth, the predicted one beside charge and prediction.
        """
        every = {TRUE_VERTEX: self.true_vertices[:, plane]}
        every |= {} if self.vertex is None else {PREDICTED_VERTEX: self.vertex[None, plane]}
        shown = [name for name in every if panel in VERTEX_PANELS[name]]
        # A pixel's middle is drawn at its number.
        places = {name: every[name][np.isfinite(every[name]).all(axis=1)] - 0.5 for name in shown}
        return {name: those for name, those in places.items() if len(those)}

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


def take_picture(
    title: str,
    event: Event,
    predictor: "Predictor | None",
    downsample: int,
    calibration: Calibration | None = None,
) -> EventPicture:
    """The picture of an event.

    Args:
        title: names it.
        event: at full resolution.
        predictor: what makes the scores, None for a picture without; one that gives what heads give for their vertex
            and class.
        downsample: of the network.
        calibration: of its weights; None: logits are taken as they come.

    Raises:
        DataError: the scores are not finite.
    """
    small = downsample_event(event, downsample)
    scores, predicted = None, None
    if predictor:
        scores, heads = predict_outputs(predictor, small)
        check_finite(scores, heads, title)
        predicted = head_prediction(heads, event.shape, calibration) if heads else None
    planes = tuple(
        _plane(small, plane, scores[plane] if scores is not None else None, 2**downsample)
        for plane in range(event.shape.planes)
    )
    truth, true_class = event.truth or Truth(), _true_class(small)
    # As batches have it: the vertex of a readout with cosmic rays only is of what it does not show.
    true_vertices = None if true_class == COSMIC_ONLY else truth.vertices
    if true_vertices is None:
        true_vertices = np.zeros((0, event.shape.planes, 2))
    vertex = None if predicted is None or np.isnan(predicted.vertex).all() else predicted.vertex
    return EventPicture(title, planes, event.shape, downsample, true_vertices, vertex, _classes(true_class, predicted))


def check_finite(scores: np.ndarray, heads: Mapping[str, np.ndarray], title: str):
    """Raises DataError where a score [planes, ...] of the event, or what a head gives of it, is not finite."""
    # Here, because it imports Keras, which displays without a prediction do without.
    from cosmictagger_tf.training.evaluation import head_not_finite, not_finite

    for plane, values in enumerate(scores):
        if wrong := int((~np.isfinite(values)).any(axis=-1).sum()):
            raise DataError(title, not_finite(wrong), plane=plane)
    for name, output in heads.items():
        if not np.isfinite(output).all():
            raise DataError(title, head_not_finite(name))


def predict_outputs(predictor: "Predictor", event: Event) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Of an event at the network's resolution the scores, float32 [planes, height, width, classes], and what the heads
    give, by name, of this one readout; see readouts.read_out."""
    # Here, because it imports Keras, too.
    from cosmictagger_tf.networks.segmentation import heads_of, pixels_of

    batch, prepare = make_batch([event], 1, event.shape), predictor.segmenter.prepare
    outputs = predictor.predict_on_batch(prepare(batch) if prepare else batch)
    heads = {name: np.asarray(output) for name, output in heads_of(outputs).items()}
    return np.asarray(pixels_of(outputs)[0], np.float32), heads


class HeadPrediction(NamedTuple):
    """What the heads predict for one readout.

    Attributes:
        vertex: float64 [planes, 2], (row, column) in pixels of the file; NaN on planes without one.
        has_neutrino: P(the readout has a neutrino), at equal priors where the weights are calibrated; None without an
            event head.
        classes: float64 [classes of a readout], their probabilities, by Calibration.class_probabilities; None likewise.
    """

    vertex: np.ndarray
    has_neutrino: float | None = None
    classes: np.ndarray | None = None


def head_prediction(
    heads: Mapping[str, np.ndarray], shape: ImageShape, calibration: Calibration | None = None
) -> HeadPrediction:
    """What the heads predict for one readout.

    Args:
        heads: see predict_outputs.
        shape: of the file's images.
        calibration: of the weights; None: logits are taken as they come.
    """
    # Here, because they import Keras, too.
    from cosmictagger_tf.inference.readouts import read_out
    from cosmictagger_tf.networks.segmentation import EVENT

    calibration = calibration or Calibration()
    readouts = read_out(heads, shape, 1, calibration, calibration.points_prior)
    if EVENT not in heads:
        return HeadPrediction(readouts.vertices[0])
    classes = calibration.class_probabilities(heads[EVENT])[0]
    return HeadPrediction(readouts.vertices[0], float(readouts.has_neutrino[0]), classes)


def _true_class(event) -> int:
    # Of an event at the network's resolution.
    if event.truth is None:
        return UNKNOWN_EVENT_CLASS
    pixels = None if event.label is None else sum(int((p.values == NEUTRINO).sum()) for p in event.label)
    return event_class(event.truth.neutrinos, pixels)


def _classes(true, predicted) -> str:
    # The true class of a readout, and what the heads predict for it.
    parts = [] if true == UNKNOWN_EVENT_CLASS else [f"true: {_class_name(true)}"]
    if predicted is not None and predicted.classes is not None:
        called = int(np.argmax(predicted.classes))
        text = f"predicted: {_class_name(called)} ({predicted.classes[called]:.1%})"
        parts.append(f"{text}, with a neutrino {predicted.has_neutrino:.1%}")
    return "; ".join(parts)


def _class_name(number) -> str:
    return EVENT_CLASS_NAMES[number].replace("_", " ")


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
