"""The data set that a DataConfig names, behind one interface."""

from typing import Protocol

import numpy as np

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.detector import ADC_THRESHOLD, N_CLASSES, ImageShape
from cosmictagger_tf.errors import ConfigError


class Reader(Protocol):
    """Entries of one or more files, by number. `read` may be called from several threads.

    Attributes:
        files: paths, in the order of the entries.
        shape: the images' full-resolution shape.
        has_labels: whether events carry labels.
    """

    files: tuple[str, ...]
    shape: ImageShape
    has_labels: bool

    def __len__(self) -> int:
        """Entries in all."""

    def read(self, entry: int) -> Event:
        """One entry, at full resolution; raises DataError."""

    def close(self) -> None:
        """Closes the files."""


def open_reader(config: DataConfig) -> Reader:
    """The reader that a DataConfig asks for.

    Raises:
        ConfigError: no file is named, or a pattern matches none.
        DataError: a file cannot be read.
        MissingPackageError: --reader=larcv without the larcv library.
    """
    if config.synthetic:
        return SyntheticReader()
    if not config.file:
        raise ConfigError("--file: name at least one larcv3 file (or use --synthetic to measure compute alone)")
    if config.reader == "larcv":
        from cosmictagger_tf.data.larcv_lib import LarcvReader

        return LarcvReader(config)
    from cosmictagger_tf.data.larcv_h5 import H5Reader

    return H5Reader(config)


class SyntheticReader:
    """Random pixel lists of the size of an SBND event, the same at every start; reads no file.

    Pixels a plane follow the real sample: about 25,000 on the induction planes and 10,000 on the collection plane.
    """

    PIXELS = (25_000, 25_000, 10_000)

    def __init__(self, entries: int = 64, shape: ImageShape | None = None):
        self.files = ("(synthetic)",)
        self.shape = shape or ImageShape()
        self.has_labels = True
        self.entries = entries

    def __len__(self) -> int:
        return self.entries

    def read(self, entry: int) -> Event:
        """The entry, drawn from its number."""
        rng = np.random.default_rng([2021, entry])
        image, label = [], []
        for plane in range(self.shape.planes):
            wanted = min(self.PIXELS[plane % len(self.PIXELS)], self.shape.pixels // 4)
            index = np.unique(rng.integers(0, self.shape.pixels, wanted))
            rows, columns = (axis.astype(np.int32) for axis in np.divmod(index, self.shape.width))
            charge = (ADC_THRESHOLD + rng.exponential(30.0, len(index))).astype(np.float32)
            image.append(PlanePixels(rows, columns, charge))
            classes = rng.integers(0, N_CLASSES, len(index)).astype(np.float32)
            label.append(PlanePixels(rows, columns, classes))
        return Event(entry, (0, 0, entry), tuple(image), tuple(label), self.shape)

    def close(self) -> None:
        """Nothing is open."""
