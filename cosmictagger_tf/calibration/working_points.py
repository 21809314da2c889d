"""What is stored beside weights of how their logits are used: calibration, and working points, which are thresholds.

Thresholds act on probabilities at equal priors, so another prior changes the probabilities but not the selection.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

import numpy as np

from cosmictagger_tf.calibration.log_probabilities import calibrated_log_has_neutrino, calibrated_log_pixels
from cosmictagger_tf.calibration.probabilities import (
    CalibrationError,
    check_training_kinds,
    check_training_prior,
    event_probabilities,
    neutrino_probability,
    pixel_probabilities,
    prior_offsets,
)
from cosmictagger_tf.calibration.temperature import HIGHEST, LOWEST
from cosmictagger_tf.detector import BACKGROUND, N_CLASSES, N_EVENT_CLASSES, NEUTRINO, NEUTRINO_KINDS
from cosmictagger_tf.vertex_fit import VertexErrors

EQUAL_PRIOR = 0.5


def _check_number(name: str, value: Any):
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise CalibrationError(f"{name} {value!r}: must be a finite number")


@dataclass(frozen=True)
class WorkingPoint:
    """Thresholds of one purpose.

    Attributes:
        background_shift: added to ln P(pixel is background): below 0 fewer pixels are called background.
        neutrino_shift: added to ln P(pixel is neutrino): below 0 fewer are called neutrino.
        event_probability: a readout is kept where that of a neutrino is above it; None keeps all.
        joined: P(pixel is neutrino) is multiplied by P(the readout has one), of a network that joins them; False: they
            are called as if there were one.

    Raises:
        CalibrationError: a shift is not finite, event_probability no probability, or joined neither true nor false.
    """

    background_shift: float = 0.0
    neutrino_shift: float = 0.0
    event_probability: float | None = None
    joined: bool = True

    def __post_init__(self):
        _check_number("background_shift", self.background_shift)
        _check_number("neutrino_shift", self.neutrino_shift)
        if not isinstance(self.joined, bool):
            raise CalibrationError(f"joined {self.joined!r}: must be true or false")
        if self.event_probability is not None:
            _check_number("event_probability", self.event_probability)
            if not 0 <= self.event_probability <= 1:
                raise CalibrationError(f"event_probability {self.event_probability:g}: must be from 0 to 1")

    @property
    def shifts(self) -> np.ndarray:
        """float64 [classes of a pixel], what is added to the logarithms of the probabilities."""
        shifts = np.zeros(N_CLASSES)
        shifts[BACKGROUND], shifts[NEUTRINO] = self.background_shift, self.neutrino_shift
        return shifts

    def called(self, probabilities: np.ndarray) -> np.ndarray:
        """The class that each pixel is called, int64 [...], from probabilities [..., classes of a pixel]."""
        with np.errstate(divide="ignore"):
            return np.argmax(np.log(np.asarray(probabilities, np.float64)) + self.shifts, axis=-1)

    def keeps(self, has_neutrino: np.ndarray) -> np.ndarray:
        """Which readouts are kept, bool [readouts], from their probability of a neutrino at equal priors."""
        has_neutrino = np.asarray(has_neutrino)
        return has_neutrino > (-np.inf if self.event_probability is None else self.event_probability)


@dataclass(frozen=True)
class Calibration:
    """How the logits of trained weights are used. As it is by default, they are taken as they come.

    Attributes:
        event_temperature, pixel_temperature: see temperature.py.
        training_prior: share of the training's readouts that have a neutrino; None where it is not known.
        training_kinds: of these the share of each kind of neutrino, in the order of EVENT_CLASS_NAMES; None where it is
            not known.
        pixels: the working point for what each pixel is.
        selection: the working point for whether a readout has a neutrino.
        vertex_errors: how precise the vertex head's places are (vertex_fit.fit_errors), in pixels of the file; None
            where no one fitted them.

    Raises:
        CalibrationError: a number is impossible, or readouts are to be cut on a probability whose prior is not known.
    """

    event_temperature: float = 1.0
    pixel_temperature: float = 1.0
    training_prior: float | None = None
    training_kinds: tuple[float, ...] | None = None
    pixels: WorkingPoint = WorkingPoint()
    selection: WorkingPoint = WorkingPoint()
    vertex_errors: VertexErrors | None = None

    def __post_init__(self):
        for name in ("event_temperature", "pixel_temperature"):
            value = getattr(self, name)
            _check_number(name, value)
            if not LOWEST <= value <= HIGHEST:
                raise CalibrationError(f"{name} {value:g}: must be from {LOWEST:g} to {HIGHEST:g}")
        if self.training_prior is not None:
            _check_number("training_prior", self.training_prior)
            check_training_prior(self.training_prior)
        elif (self.pixels.event_probability, self.selection.event_probability) != (None, None):
            raise CalibrationError("event_probability: needs training_prior, for thresholds are at equal priors")
        if self.training_kinds is not None:
            check_training_kinds(self.training_kinds, self.training_prior)

    def event_probabilities(self, logits: np.ndarray, prior: float | None = None) -> np.ndarray:
        """The probability of each class of readouts, float64 [..., classes], from their logits of the same shape.

        Args:
            logits: float.
            prior: the experiment's share of readouts with a neutrino; None = the training's.

        Raises:
            CalibrationError: the training's share is not known, or a logit is not finite.
        """
        if prior is None:
            return event_probabilities(logits, self.event_temperature)
        if self.training_prior is None:
            raise CalibrationError(f"prior {prior:g}: cannot be put in: that of the training is not known")
        return event_probabilities(logits, self.event_temperature, prior_offsets(self.training_prior, prior))

    def class_probabilities(self, event_logits: np.ndarray) -> np.ndarray:
        """The probability of each class where none of them is likelier beforehand, float64 [readouts, classes].

        What is not known of the training's priors stays as it was.

        Args:
            event_logits: float [readouts, classes of a readout].
        """
        probabilities = self.event_probabilities(event_logits, self.points_prior)
        weights = np.ones(N_EVENT_CLASSES)
        if self.training_kinds is not None:
            weights[NEUTRINO_KINDS] = 1 / np.array(self.training_kinds)
        weighted = probabilities * weights
        return weighted / weighted.sum(axis=-1, keepdims=True)

    def pixel_probabilities(
        self, logits: np.ndarray, event_logits: np.ndarray | None = None, prior: float | None = None
    ) -> np.ndarray:
        """The probability of each class of pixels, float64 [readouts, ..., classes of a pixel].

        Args:
            logits: float, the same shape.
            event_logits: float [readouts, classes of a readout]; None where the network does not give them.
            prior: as of event_probabilities.

        Raises:
            CalibrationError: see event_probabilities.
        """
        if event_logits is None:
            return pixel_probabilities(logits, temperature=self.pixel_temperature)
        has_neutrino = neutrino_probability(self.event_probabilities(event_logits, prior))
        has_neutrino = has_neutrino.reshape(-1, *[1] * (np.ndim(logits) - 2))
        return pixel_probabilities(logits, has_neutrino, self.pixel_temperature)

    def kept(self, point: WorkingPoint, event_logits: np.ndarray) -> np.ndarray:
        """Which readouts a working point keeps, bool [readouts], from their logits [readouts, classes of a readout]."""
        return point.keeps(neutrino_probability(self.event_probabilities(event_logits, self.points_prior)))

    def called(self, point: WorkingPoint, logits: np.ndarray, event_logits: np.ndarray | None = None) -> np.ndarray:
        """The class that each pixel is called at a working point, int64 [readouts, ...]; see at_point."""
        return np.argmax(self.at_point(point, logits, event_logits), axis=-1)

    def at_point(self, point: WorkingPoint, logits, event_logits=None, backend: Any = np):
        """The logarithms of the probabilities of each pixel's classes at equal priors, plus a working point's shifts.

        Where the point is not joined, those of a readout that has a neutrino.

        The class of a pixel is that of the greatest. Where the training's prior is not known, it stays that.

        Args:
            point: one of the working points.
            logits: [readouts, ..., classes of a pixel].
            event_logits: [readouts, classes of a readout]; None without an event head.
            backend: numpy for arrays (float64), keras.ops for tensors (float32).

        Returns:
            The same shape as the logits.
        """
        has = None
        if event_logits is not None and point.joined:
            log_has = self.log_has_neutrino(event_logits, backend)
            has = tuple(backend.reshape(each, (-1, *[1] * (len(logits.shape) - 2))) for each in log_has)
        logs = calibrated_log_pixels(logits, self.pixel_temperature, has, backend)
        return logs + (point.shifts if backend is np else backend.convert_to_tensor(point.shifts, "float32"))

    def log_has_neutrino(self, event_logits, backend: Any = np) -> tuple:
        """ln P(the readout has a neutrino) at equal priors, and ln P(it has none): two of [readouts].

        Where the training's prior is not known, it stays that. Arguments as those of at_point.
        """
        prior = self.training_prior
        offsets = np.zeros(N_EVENT_CLASSES) if prior is None else prior_offsets(prior, EQUAL_PRIOR)
        return calibrated_log_has_neutrino(event_logits, self.event_temperature, offsets, backend)

    @property
    def points_prior(self) -> float | None:
        """The prior that thresholds are at; None, the training's, where that is not known."""
        return None if self.training_prior is None else EQUAL_PRIOR

    def to_dict(self) -> dict:
        """A plain dict that json can write."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Calibration":
        """The calibration that to_dict described; what it lacks has its default.

        Raises:
            CalibrationError: it has what no calibration has, or an impossible number.
        """
        record = dict(_known(cls, record))
        for name in ("pixels", "selection"):
            if name in record:
                record[name] = WorkingPoint(**_known(WorkingPoint, record[name]))
        if isinstance(record.get("training_kinds"), list):
            record["training_kinds"] = tuple(record["training_kinds"])
        if record.get("vertex_errors") is not None:
            record["vertex_errors"] = _vertex_errors(_known(VertexErrors, record["vertex_errors"]))
        return cls(**record)

    @classmethod
    def of_weights(cls, record: Mapping[str, Any]) -> "Calibration":
        """From the record that lies beside weights: its "calibration".

        Weights of earlier versions have a "background_shift" instead, or nothing: it shifts every decision on pixels.
        """
        if "calibration" in record:
            return cls.from_dict(record["calibration"])
        point = WorkingPoint(background_shift=record.get("background_shift", 0.0))
        return cls(pixels=point, selection=point)


def _vertex_errors(record) -> VertexErrors:
    # From lists of numbers, as JSON has them.
    try:
        return VertexErrors(**{name: tuple(map(float, values)) for name, values in record.items()})
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"vertex_errors {record!r}: {error}") from None


def _known(kind: type, record: Any) -> Mapping[str, Any]:
    # The record; raises where it is none of this dataclass.
    if not isinstance(record, Mapping):
        raise CalibrationError(f"calibration: {record!r} is no {kind.__name__}")
    unknown = sorted(set(record) - {f.name for f in fields(kind)})
    if unknown:
        raise CalibrationError(f"calibration: has no {', '.join(unknown)} (written by a newer version?)")
    return record
