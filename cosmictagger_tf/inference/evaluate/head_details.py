"""What an evaluation keeps of what heads give of each event: its class, its vertices, and how far they are off."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.inference.evaluate.vertex_distances import distances
from cosmictagger_tf.inference.readouts import read_out
from cosmictagger_tf.networks.segmentation import EVENT, VERTEX


@dataclass(frozen=True)
class HeadReader:
    """Reads the heads' outputs of Batches with truth.

    Attributes:
        shape: of the file's images, at full resolution.
        downsample: of the network.
        calibration: of the weights.
        pixel_size: of the file, cm, where the geometry is not known; None: not known either.
    """

    shape: ImageShape
    downsample: int = 0
    calibration: Calibration = field(default_factory=Calibration)
    pixel_size: tuple[float, float] | None = None

    @property
    def pixel_cm(self) -> tuple[float, float] | None:
        """Height and width of a pixel, cm: the detector's, else what the file has; None where neither is known."""
        return self.pixel_size if geometry.unknown(self.shape) else geometry.PIXEL_CM

    def columns(self, batch: dict, results: Mapping, events: np.ndarray) -> dict[str, np.ndarray]:
        """Of a Batch those of EventDetails that its heads tell, by name; nothing of a network without heads.

        Probabilities are at equal priors, or, where the training's prior is not known, at that.

        Args:
            batch: as NumPy arrays, with truth where there is a vertex head.
            results: what a DetailedEvaluator gives of it.
            events: which of its places are events.
        """
        heads = {name: np.asarray(results[name])[events] for name in (EVENT, VERTEX) if name in results}
        predicted = read_out(heads, self.shape, len(events), self.calibration, self.calibration.points_prior)
        columns: dict[str, np.ndarray] = {}
        if EVENT in heads:
            columns["class_scores"] = predicted.probabilities
            columns["called_classes"] = np.argmax(self.calibration.class_probabilities(heads[EVENT]), axis=1)
        if VERTEX in heads:
            best = np.asarray(results["vertices"], np.float64)[events, :, 0] * 2**self.downsample
            # A sparse network's empty plane has 0 in every cell.
            rows = np.where(np.asarray(results["vertex_scores"])[events] > 0, best, np.nan)
            true = true_vertices(batch, events, self.downsample)
            columns |= {
                "vertex_rows": rows.max(axis=1) - rows.min(axis=1),
                "vertex_agreement": predicted.agreement,
                "vertex_pixels": distances(predicted.vertices, true),
            }
            if not geometry.unknown(self.shape):
                columns["points"] = predicted.points
            if self.pixel_cm:
                columns["vertex_cm"] = distances(predicted.vertices, true, self.pixel_cm)
        return columns


def true_vertices(batch: dict, events: np.ndarray, downsample: int) -> list[np.ndarray | None]:
    """The true vertices of a Batch's events: float64 [V, planes, 2] in pixels of the file, NaN on planes without one;
    None where they are not known."""
    places = np.asarray(batch["vertices"], np.float64)[events]
    places = np.where((places >= 0).all(axis=-1, keepdims=True), places * 2**downsample, np.nan)
    known = np.asarray(batch["vertices_known"])[events] > 0
    return [each if there else None for each, there in zip(places, known, strict=True)]
