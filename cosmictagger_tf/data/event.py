"""One readout of the detector, as sparse pixel lists."""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.data.truth import Truth
from cosmictagger_tf.detector import ImageShape


@dataclass(frozen=True)
class PlanePixels:
    """The stored pixels of one wire plane, each at most once.

    Attributes:
        rows: int32 [n], drift time (ticks), 0 at the top of the image.
        columns: int32 [n], wire number.
        values: float32 [n], ADC for an image, class index for a label.
    """

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def empty(cls) -> "PlanePixels":
        """A plane on which nothing was stored."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))

    def dense(self, height: int, width: int) -> np.ndarray:
        """float32 [height, width], zero where no pixel is stored."""
        image = np.zeros((height, width), np.float32)
        image[self.rows, self.columns] = self.values
        return image


@dataclass(frozen=True)
class Event:
    """One readout: an image and, where the file has one, its label.

    Attributes:
        entry: position in the data set (over all its files), from 0.
        event_id: (run, subrun, event) as the file gives it.
        image: one PlanePixels a plane, values in ADC.
        label: one PlanePixels a plane, values are class indices (see detector.CLASS_NAMES); None without labels.
        shape: size of the images.
        truth: of its neutrino interactions; None unless the reader was asked for it.
    """

    entry: int
    event_id: tuple[int, int, int]
    image: tuple[PlanePixels, ...]
    label: tuple[PlanePixels, ...] | None
    shape: ImageShape
    truth: Truth | None = None
