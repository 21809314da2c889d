"""larcv3 files read through h5py, with the chunks inflated outside HDF5's lock.

HDF5 inflates chunks under one global lock; here h5py only hands over the compressed chunks (read_direct_chunk), and
the inflating, which takes most of the time, runs in the calling thread without lock and without the GIL.
"""

from glob import glob
from pathlib import Path

import h5py
import numpy as np
from h5py._objects import phil as h5py_lock

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.inflate import inflate
from cosmictagger_tf.data.larcv_format import VOXEL_DTYPE, group_name
from cosmictagger_tf.detector import N_CLASSES, ImageShape
from cosmictagger_tf.errors import ConfigError, DataError

# A table beyond this many rows in one event is taken for a corrupt file rather than allocated.
MOST_PIXELS_PER_PLANE = 1 << 26


class H5Reader:
    """The events of one or more larcv3 files; see dataset.Reader.

    Args:
        config: files (patterns are expanded), producers, first_entry, max_entries.

    Raises:
        ConfigError: no file matches, or no entry is left by first_entry.
        DataError: a file is missing, no larcv3 file, or its tables contradict one another.
    """

    def __init__(self, config: DataConfig):
        self.files = expand(config.file)
        self.parts = [LarcvFile(path, config.producer_image, config.producer_label) for path in self.files]
        self.shape = self.parts[0].shape
        for part in self.parts[1:]:
            if part.shape != self.shape:
                raise DataError(part.path, f"has images of {part.shape}, but {self.files[0]} has {self.shape}")
        self.has_labels = all(part.label is not None for part in self.parts)
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in self.parts])])
        self.first, self.count = chosen_entries(int(self.starts[-1]), config)

    def __len__(self) -> int:
        return self.count

    def read(self, entry: int) -> Event:
        """One entry, counted from first_entry over all files."""
        place = self.first + entry
        part = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self.parts[part].read(place - int(self.starts[part]), entry, self.has_labels)

    def close(self) -> None:
        """Closes the files."""
        for part in self.parts:
            part.file.close()


def expand(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The files that names and patterns mean, in order; raises ConfigError where a pattern matches none."""
    found: list[str] = []
    for pattern in patterns:
        matches = sorted(glob(pattern)) if any(c in pattern for c in "*?[") else [pattern]
        if not matches:
            raise ConfigError(f"--file={pattern}: no file matches")
        found += matches
    return tuple(found)


def chosen_entries(total: int, config: DataConfig) -> tuple[int, int]:
    """(first entry, number of entries) of `total` that first_entry and max_entries leave."""
    left = total - config.first_entry
    if left <= 0:
        raise ConfigError(f"--first_entry={config.first_entry}: {', '.join(config.file)} has only {total} entries")
    return config.first_entry, min(left, config.max_entries or left)


class LarcvFile:
    """One open larcv3 file: its small tables in memory, its voxels on the disk."""

    def __init__(self, path: str, producer_image: str, producer_label: str):
        self.path = path
        self.file = open_hdf5(path)
        self.image = Sparse2d(self, producer_image)
        has_label = group_name("sparse2d", producer_label) in self.file
        self.label = Sparse2d(self, producer_label) if has_label else None
        self.shape = self.image.shape
        if self.label is not None and len(self.label) != len(self.image):
            raise DataError(
                path, f"has {len(self.image)} entries of {producer_image} and {len(self.label)} of {producer_label}"
            )
        if self.label is not None and self.label.shape != self.shape:
            raise DataError(path, f"has images of {self.shape} but labels of {self.label.shape}")
        self.event_ids = table(self.file, path, "/Events/event_id")[:]
        if len(self.event_ids) < len(self.image):
            raise DataError(path, f"has {len(self.image)} images but only {len(self.event_ids)} event ids")

    def __len__(self) -> int:
        return len(self.image)

    def read(self, place: int, entry: int, with_label: bool) -> Event:
        """The event at `place` of this file, as `entry` of the data set."""
        label = self.label.read(place) if with_label and self.label is not None else None
        for plane, pixels in enumerate(label or ()):
            check_classes(self.path, place, plane, pixels.values)
        found = self.event_ids[place]
        event_id = (int(found["run"]), int(found["subrun"]), int(found["event"]))
        return Event(entry, event_id, self.image.read(place), label, self.shape)


class Sparse2d:
    """One sparse2d product of an open file."""

    def __init__(self, parent: LarcvFile, producer: str):
        self.path, self.producer = parent.path, producer
        group = group_name("sparse2d", producer)
        if group not in parent.file:
            there = ", ".join(
                sorted(name[9:-6] for name in parent.file.get("Data", ()) if name.startswith("sparse2d_"))
            )
            raise DataError(
                parent.path,
                f"has no sparse2d product '{producer}' (it has: {there or 'none'}); "
                "see --producer_image and --producer_label",
            )
        self.extents = table(parent.file, self.path, f"{group}/extents", "first", "N")[:]
        self.planes_of = table(parent.file, self.path, f"{group}/voxel_extents", "first", "N", "ID")[:]
        self.voxels = Voxels(self.path, table(parent.file, self.path, f"{group}/voxels", "id", "value"))
        meta = table(parent.file, self.path, f"{group}/image_meta", "number_of_voxels")["number_of_voxels"]
        if not len(self.extents):
            raise DataError(self.path, f"has no entries of {producer}")
        self.shape = self._shape(meta)

    def __len__(self) -> int:
        return len(self.extents)

    def _shape(self, sizes) -> ImageShape:
        planes = int(self.extents["N"][0])
        if not planes or not len(sizes):
            raise DataError(self.path, f"{self.producer} has no planes", entry=0)
        wires, ticks = (int(n) for n in sizes[0])
        if not 0 < wires * ticks <= MOST_PIXELS_PER_PLANE:
            raise DataError(self.path, f"{self.producer} has an image of {ticks} rows x {wires} columns", entry=0)
        other = np.flatnonzero((sizes != sizes[0]).any(axis=1))
        if len(other):
            entry, plane = divmod(int(other[0]), planes)
            wide, high = (int(n) for n in sizes[other[0]])
            raise DataError(
                self.path,
                f"{self.producer} is {high} rows x {wide} columns, but {ticks} x {wires} elsewhere",
                entry,
                plane,
            )
        return ImageShape(planes, ticks, wires)

    def read(self, entry: int) -> tuple[PlanePixels, ...]:
        """The pixels of each plane."""
        first, planes = int(self.extents["first"][entry]), int(self.extents["N"][entry])
        if first + planes > len(self.planes_of):
            raise DataError(self.path, f"{self.producer}: extents point beyond voxel_extents", entry)
        found: dict[int, PlanePixels] = {}
        for row in self.planes_of[first : first + planes]:
            plane = int(row["ID"])
            if plane in found or plane >= self.shape.planes:
                raise DataError(
                    self.path, f"{self.producer}: plane ids are not 0 to {self.shape.planes - 1}", entry, plane
                )
            found[plane] = self._read_plane(int(row["first"]), int(row["N"]), entry, plane)
        missing = sorted(set(range(self.shape.planes)) - set(found))
        if missing:
            raise DataError(self.path, f"{self.producer}: the plane is missing", entry, missing[0])
        return tuple(found[plane] for plane in range(self.shape.planes))

    def _read_plane(self, first, count, entry, plane) -> PlanePixels:
        def wrong(reason):
            return DataError(self.path, f"{self.producer}: {reason}", entry, plane)

        if first + count > self.voxels.rows or count > self.shape.pixels:
            raise wrong(f"voxel_extents point beyond the table of {self.voxels.rows} voxels")
        try:
            voxels = self.voxels.read(first, count)
        except (OSError, ValueError, RuntimeError) as error:
            raise wrong(f"cannot read the voxels: {str(error).splitlines()[0]}") from None
        if not count:
            return PlanePixels.empty()
        if int(voxels["id"].max()) >= self.shape.pixels:
            raise wrong(f"pixel id {int(voxels['id'].max())} lies outside {self.shape.height} x {self.shape.width}")
        ids = voxels["id"].astype(np.uint32)
        if not (ids[1:] > ids[:-1]).all() and len(np.unique(ids)) < count:
            raise wrong("a pixel is there twice")
        values = np.ascontiguousarray(voxels["value"])
        if not np.isfinite(values).all():
            raise wrong("a pixel's value is NaN or infinite")
        columns = ids // np.uint32(self.shape.height)
        rows = ids - columns * np.uint32(self.shape.height)
        return PlanePixels(rows.view(np.int32), columns.view(np.int32), values)


class Voxels:
    """A table of voxels that is read by row range; threads may read at once."""

    def __init__(self, path: str, dataset: h5py.Dataset):
        self.path, self.dataset, self.rows = path, dataset, dataset.shape[0]
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        # Another layout than larcv3's own is read by HDF5 itself.
        self.direct = filters == [h5py.h5z.FILTER_DEFLATE] and dataset.dtype == VOXEL_DTYPE
        self.chunk = dataset.chunks[0] if dataset.chunks else 0

    def read(self, first: int, count: int) -> np.ndarray:
        """Rows first to first + count: structured array with id and value."""
        if not self.direct or not count:
            return self.dataset[first : first + count]
        begin, end = first // self.chunk, (first + count - 1) // self.chunk + 1
        size = self.chunk * VOXEL_DTYPE.itemsize
        parts = [self._chunk(i * self.chunk, size) for i in range(begin, end)]
        rows = np.frombuffer(b"".join(parts), VOXEL_DTYPE)
        return rows[first - begin * self.chunk :][:count]

    def _chunk(self, row: int, size: int) -> bytes:
        # Unlike the rest of h5py, read_direct_chunk does not take the lock that HDF5 needs between threads.
        with h5py_lock:
            mask, compressed = self.dataset.id.read_direct_chunk((row,))
        return inflate(compressed, size) if mask == 0 else compressed


def open_hdf5(path: str) -> h5py.File:
    """The open file; raises DataError where it is missing, cut short, no HDF5 file, or being written."""
    if not Path(path).is_file():
        raise DataError(path, "no such file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error).lower()
        if "truncated" in text or "eof" in text:
            raise DataError(path, "is cut short (a copy that did not finish?): copy or make it again") from None
        if "lock" in text or "already open" in text or "consistency" in text:
            raise DataError(
                path, "is being written by another program, or was not closed: wait, or make it again"
            ) from None
        if Path(path).stat().st_size == 0:
            raise DataError(path, "is empty") from None
        raise DataError(path, "is no HDF5 file, or cannot be read") from None


def table(file: h5py.File, path: str, name: str, *columns: str) -> h5py.Dataset:
    """A table of the file that has these columns; raises DataError."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise DataError(path, f"has no table {name}: is it a larcv3 file?")
    missing = [c for c in columns if c not in (found.dtype.names or ())]
    if missing or found.ndim != 1:
        raise DataError(path, f"table {name} has no column {', '.join(missing) or 'at all'}: is it a larcv3 file?")
    return found


def check_classes(path: str, entry: int, plane: int, values: np.ndarray):
    """Raises DataError unless every label is a class index."""
    wrong = (values < 0) | (values >= N_CLASSES) | (values != np.floor(values))
    if wrong.any():
        raise DataError(path, f"label {values[wrong][0]:g} is none of the classes 0 to {N_CLASSES - 1}", entry, plane)
