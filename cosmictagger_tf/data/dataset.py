"""The data set that a DataConfig names, behind one interface."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from glob import glob
from typing import Protocol

import numpy as np

from cosmictagger_tf.config import DataConfig, TruthConfig
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.open_files import OpenFile
from cosmictagger_tf.data.tables import FileIdentity
from cosmictagger_tf.data.truth import Truth, TruthSources
from cosmictagger_tf.detector import ADC_THRESHOLD, N_CLASSES, ImageShape
from cosmictagger_tf.errors import ConfigError, DataError, read_errors
from cosmictagger_tf.text import counted, listed


class Reader(Protocol):
    """Entries of one or more files, by number. `read` may be called from several threads.

    Attributes:
        files: paths, in the order of the entries.
        sizes: their bytes.
        shape: the images' full-resolution shape.
        pixel_size: height and width of their pixels, see larcv_h5.Sparse2d.pixel_size; None where files differ.
        has_labels: whether events carry labels.
        has_truth: whether they carry truth: whether it was asked for.
        truth_sources: of each file, which truth there is; none without truth.
    """

    files: tuple[str, ...]
    sizes: tuple[int, ...]
    shape: ImageShape
    pixel_size: tuple[float, float] | None
    has_labels: bool
    has_truth: bool
    truth_sources: tuple[TruthSources, ...]

    def __len__(self) -> int:
        """Entries in all."""

    def read(self, entry: int) -> Event:
        """One entry, at full resolution; raises DataError."""

    def event_id(self, entry: int) -> tuple[int, int, int]:
        """(run, subrun, event) of an entry; raises DataError."""

    def place(self, entry: int) -> tuple[str, int]:
        """The file that an entry is in, and its number there."""

    def name(self, entry: int) -> str:
        """The same as text."""

    def checksum(self) -> str:
        """Of the events' ids and numbers of voxels: other events have another one."""

    def most_voxels(self) -> int:
        """Those of the plane that has most, of image or label."""

    def check_unchanged(self) -> None:
        """Raises DataError where an open file was written to since it was opened."""

    def close(self) -> None:
        """Closes the files."""


class FileReader(Protocol):
    """One open larcv3 file, entries counted from 0 within it: larcv_h5.LarcvFile, larcv_lib.LarcvLibraryFile."""

    path: str
    identity: FileIdentity
    shape: ImageShape
    pixel_size: tuple[float, float] | None
    has_labels: bool
    truth_sources: TruthSources | None

    def __len__(self) -> int: ...

    def read(self, entry: int, number: int) -> Event: ...

    def event_id(self, entry: int) -> tuple[int, int, int]: ...

    def content(self, first: int, count: int) -> Iterator[list[np.ndarray]]: ...

    def check_unchanged(self) -> None: ...

    def close(self) -> None: ...


def open_reader(config: DataConfig, truth: TruthConfig | None = None) -> Reader:
    """The reader that a DataConfig asks for.

    Args:
        config: which files, and by which library.
        truth: None, or which products have the truth of each event, which is read then. Files of a set may lack it.

    Raises:
        ConfigError: no file is named, a pattern matches none, or no entry is left.
        DataError: a file cannot be read.
        MissingPackageError: --reader=larcv without the larcv library.
    """
    if config.synthetic:
        return SyntheticReader(truth=truth is not None)
    if not config.file:
        raise ConfigError("--file: name at least one larcv3 file (or use --synthetic to measure compute alone)")
    if config.reader == "larcv":
        from cosmictagger_tf.data.larcv_lib import LarcvLibraryFile

        return FilesReader(config, LarcvLibraryFile, truth)
    from cosmictagger_tf.data.larcv_h5 import LarcvFile

    return FilesReader(config, LarcvFile, truth)


def open_labelled(config: DataConfig, truth: TruthConfig | None = None) -> Reader:
    """As open_reader, for what needs labels.

    Raises:
        DataError: there are none; as open_reader too.
    """
    reader = open_reader(config, truth)
    if not reader.has_labels:
        reader.close()
        raise DataError(reader.files[0], f"has no label product {config.producer_label}: see --producer_label")
    return reader


Opener = Callable[..., FileReader]


class FilesReader:
    """Several files as one data set; a Reader.

    Args:
        config: files (patterns are expanded), producers, first_entry, max_entries.
        open_file: opens one of them: (path, producer_image, producer_label, truth). Of many, not all are open at a
            time.
        truth: as in open_reader.

    Raises:
        ConfigError: no file matches, or no entry is left by first_entry.
        DataError: a file cannot be read, or is unlike the first one.
    """

    def __init__(self, config: DataConfig, open_file: Opener, truth: TruthConfig | None = None):
        self.files = expand(config.file)
        self.parts: list[OpenFile] = []
        producers = {"producer_image": config.producer_image, "producer_label": config.producer_label, "truth": truth}
        try:
            for path in self.files:
                self.parts.append(OpenFile(path, partial(open_file, **producers)))
                _check_alike(self.parts[0], self.parts[-1])
            self.starts = np.concatenate([[0], np.cumsum([len(part) for part in self.parts])])
            self.first, self.count = _chosen_entries(int(self.starts[-1]), config)
        except BaseException:
            self.close()
            raise
        self.sizes = tuple(part.identity.size for part in self.parts)
        self.shape = self.parts[0].shape
        pixel_sizes = {part.pixel_size for part in self.parts}
        self.pixel_size = pixel_sizes.pop() if len(pixel_sizes) == 1 else None
        self.has_labels = self.parts[0].has_labels
        self.has_truth = truth is not None
        self.truth_sources = tuple(part.truth_sources for part in self.parts if part.truth_sources)

    def __len__(self) -> int:
        return self.count

    def read(self, entry: int) -> Event:
        part, place = self.locate(entry)
        try:
            return part.read(place, entry)
        except DataError:
            part.check_unchanged()
            raise

    def event_id(self, entry: int) -> tuple[int, int, int]:
        part, place = self.locate(entry)
        return part.event_id(place)

    def place(self, entry: int) -> tuple[str, int]:
        part, place = self.locate(entry)
        return part.path, place

    def name(self, entry: int) -> str:
        return "{}, entry {}".format(*self.place(entry))

    def locate(self, entry: int) -> tuple[OpenFile, int]:
        """The file that holds an entry, and the entry's number in it; raises IndexError."""
        if not 0 <= entry < self.count:
            raise IndexError(f"entry {entry} of {self.count}")
        place = self.first + entry
        part = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self.parts[part], place - int(self.starts[part])

    def checksum(self) -> str:
        """Hexadecimal; of the chosen entries' ids and numbers of voxels."""
        return self._content[0]

    def most_voxels(self) -> int:
        return self._content[1]

    @cached_property
    def _content(self) -> tuple[str, int]:
        total, most = hashlib.sha256(), 0
        for part, start in zip(self.parts, self.starts[:-1].tolist(), strict=True):
            first, last = max(self.first - start, 0), min(self.first + self.count - start, len(part))
            if first < last:
                for ids, *counts in part.content(first, last - first):
                    for block in (ids, *counts):
                        total.update(block.tobytes())
                    most = max([most, *(int(block.max(initial=0)) for block in counts)])
        # What a broken table of extents makes of them is no number of pixels.
        return total.hexdigest()[:16], min(most, self.shape.pixels)

    def check_unchanged(self) -> None:
        for part in self.parts:
            part.check_unchanged()

    def close(self) -> None:
        for part in self.parts:
            part.close()


def expand(patterns: tuple[str, ...], flag: str = "file") -> tuple[str, ...]:
    """The files that the names and patterns of a flag mean, in order.

    Raises:
        ConfigError: a pattern matches none.
        ReadError: the system refuses to list the folder.
    """
    files: list[str] = []
    for pattern in patterns:
        is_pattern = any(c in pattern for c in "*?[") and not os.path.exists(pattern)
        # Where [...] matches nothing it may stand in a name, as of a folder.
        matches = sorted(glob(pattern) or glob(pattern.replace("[", "[[]"))) if is_pattern else [pattern]
        if not matches:
            # Of a folder that may not be read, too.
            with read_errors(pattern), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.scandir(os.path.dirname(pattern) or ".").close()
            raise ConfigError(f"--{flag}={pattern}: no file matches")
        files += matches
    return tuple(files)


def _check_alike(first: OpenFile, other: OpenFile):
    if other.shape != first.shape:
        raise DataError(other.path, f"has {other.shape}, but {first.path} has {first.shape}: use files of one size")
    if other.has_labels != first.has_labels:
        with_labels, without = (first, other) if first.has_labels else (other, first)
        raise DataError(without.path, f"has no labels, but {with_labels.path} has: see --producer_label")


def _chosen_entries(total: int, config: DataConfig) -> tuple[int, int]:
    left = total - config.first_entry
    if left <= 0:
        raise ConfigError(
            f"--first_entry={config.first_entry}: {listed(config.file)} has only {counted(total, 'entry')}"
        )
    return config.first_entry, min(left, config.max_entries or left)


class SyntheticReader:
    """Random pixel lists of the size of an SBND event, the same at every start; reads no file.

    Pixels a plane follow the real sample: about 25,000 on the induction planes and 10,000 on the collection plane.
    """

    PIXELS = (25_000, 25_000, 10_000)

    def __init__(self, entries: int = 64, shape: ImageShape | None = None, truth: bool = False):
        self.files: tuple[str, ...] = ("(synthetic)",)
        self.sizes: tuple[int, ...] = (0,)
        self.shape = shape or ImageShape()
        self.pixel_size: tuple[float, float] | None = None
        self.has_labels = True
        self.has_truth = truth
        self.truth_sources: tuple[TruthSources, ...] = (TruthSources(True, "synthetic"),) if truth else ()
        self.entries = entries

    def __len__(self) -> int:
        return self.entries

    def read(self, entry: int) -> Event:
        rng = np.random.default_rng([2021, entry])
        image, label = [], []
        for plane in range(self.shape.planes):
            wanted = min(self.PIXELS[plane % len(self.PIXELS)], self.shape.pixels // 4)
            index = np.unique(rng.integers(0, self.shape.pixels, wanted))
            columns, rows = (axis.astype(np.int32) for axis in np.divmod(index, self.shape.height))
            charge = (ADC_THRESHOLD + rng.exponential(30.0, len(index))).astype(np.float32)
            image.append(PlanePixels(rows, columns, charge))
            classes = rng.integers(0, N_CLASSES, len(index)).astype(np.float32)
            label.append(PlanePixels(rows, columns, classes))
        truth = self._truth(rng) if self.has_truth else None
        return Event(entry, self.event_id(entry), tuple(image), tuple(label), self.shape, truth)

    def _truth(self, rng) -> Truth:
        neutrino = Neutrino(1.0, int(rng.choice((12, 14))), int(rng.integers(2)))
        vertices = rng.uniform(0, (self.shape.height, self.shape.width), (1, self.shape.planes, 2))
        return Truth((neutrino,), vertices)

    def event_id(self, entry: int) -> tuple[int, int, int]:
        return 0, 0, entry

    def place(self, entry: int) -> tuple[str, int]:
        return self.files[0], entry

    def name(self, entry: int) -> str:
        return f"{self.files[0]}, entry {entry}"

    def checksum(self) -> str:
        return "synthetic"

    def most_voxels(self) -> int:
        """At most, of any plane."""
        return min(max(self.PIXELS), self.shape.pixels // 4)

    def check_unchanged(self) -> None: ...

    def close(self) -> None: ...
