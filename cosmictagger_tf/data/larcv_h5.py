"""larcv3 files read through h5py and tables.py.

Opening a file reads the first row of a few tables; an entry's rows are looked up when it is read, so that neither the
time to open a file nor the memory grows with its length. Nothing that the file says is believed unchecked.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.larcv_format import group_name
from cosmictagger_tf.data.tables import Hdf5File
from cosmictagger_tf.detector import N_CLASSES, ImageShape
from cosmictagger_tf.errors import DataError

# An image beyond this many pixels a plane is taken for a corrupt file rather than allocated.
MOST_PIXELS = 1 << 26
MOST_PLANES = 64


class LarcvFile:
    """One open larcv3 file; `read` may be called from several threads.

    Args:
        path: the file.
        producer_image: of the sparse2d product that is the image.
        producer_label: of the one that is the label; "" for none.

    Attributes:
        shape: full resolution, as the first entry has it.
        has_labels: whether the file has the label product.

    Raises:
        DataError: it is no larcv3 file, has no such image, or its products have different lengths.
    """

    def __init__(self, path: str, producer_image: str, producer_label: str):
        self.path = path
        self.file = Hdf5File(path)
        try:
            self.image = Sparse2d(self.file, producer_image)
            self.has_labels = bool(producer_label) and group_name("sparse2d", producer_label) in self.file.h5
            self.label = Sparse2d(self.file, producer_label) if self.has_labels else None
            self.event_ids = self.file.table("/Events/event_id", {"run": "iu", "subrun": "iu", "event": "iu"})
            self._check_lengths()
            self.shape = self.image.first_shape()
        except BaseException:
            self.file.close()
            raise

    def __len__(self) -> int:
        return len(self.event_ids)

    def _check_lengths(self):
        entries = len(self.event_ids)
        if not entries:
            raise DataError(self.path, "has no entries")
        for product in (self.image, self.label):
            if product is not None and len(product.extents) != entries:
                raise DataError(
                    self.path,
                    f"has {entries} event ids but {len(product.extents)} entries of {product.producer}: was it closed?",
                )

    def event_id(self, entry: int) -> tuple[int, int, int]:
        """(run, subrun, event) of an entry of this file."""
        try:
            found = self.event_ids.read(entry, 1)[0]
        except ValueError as error:
            raise DataError(self.path, str(error), entry) from None
        return int(found["run"]), int(found["subrun"]), int(found["event"])

    def read(self, entry: int, number: int | None = None) -> Event:
        """An entry of this file, as the entry `number` of a data set; raises DataError."""
        image = self.image.read(entry, self.shape)
        label = None
        if self.label is not None:
            voxels = self.label.read(entry, self.shape, image)
            self.label.check_classes(voxels, entry)
            label = voxels.planes()
        event_id = self.event_id(entry)
        return Event(entry if number is None else number, event_id, image.planes(), label, self.shape)

    def close(self):
        """Closes the file."""
        self.file.close()


@dataclass(frozen=True)
class EntryVoxels:
    """The voxels of an entry, its planes one after the other.

    Attributes:
        ids: uint32 [n], as in the file.
        values: float32 [n].
        bounds: plane p is bounds[p] : bounds[p + 1].
        coordinates: (rows, columns) of each plane, int32 [pixels] each.
    """

    ids: np.ndarray
    values: np.ndarray
    bounds: list[int]
    coordinates: list[tuple[np.ndarray, np.ndarray]]

    def planes(self) -> tuple[PlanePixels, ...]:
        """The pixels of each plane."""
        values = [self.values[part] for part in _parts(self.bounds)]
        return tuple(PlanePixels(*where, value) for where, value in zip(self.coordinates, values, strict=True))


def _parts(bounds) -> list[slice]:
    return [slice(*pair) for pair in pairwise(bounds)]


class Sparse2d:
    """One sparse2d product of an open file."""

    def __init__(self, file: Hdf5File, producer: str):
        self.path, self.producer = file.path, producer
        group = group_name("sparse2d", producer)
        if group not in file.h5:
            names = file.h5.get("Data") or ()
            there = sorted(
                n.removeprefix("sparse2d_").removesuffix("_group") for n in names if n.startswith("sparse2d_")
            )
            raise DataError(
                file.path,
                f"has no sparse2d product '{producer}' (it has: {', '.join(there) or 'none'}); "
                "see --producer_image and --producer_label",
            )
        self.extents = file.table(f"{group}/extents", {"first": "u", "N": "u"})
        self.plane_extents = file.table(f"{group}/voxel_extents", {"first": "u", "N": "u", "ID": "u"})
        self.voxels = file.table(f"{group}/voxels", {"id": "u", "value": "f"})
        self.meta = file.table(f"{group}/image_meta", {"number_of_voxels": "u"})

    def error(self, reason: str, entry: int | None, plane: int | None = None) -> DataError:
        """What is raised for a fault of this product."""
        return DataError(self.path, f"{self.producer}: {reason}", entry, plane)

    def first_shape(self) -> ImageShape:
        """The shape of the first entry's images."""
        extents, metas = self._rows(0)
        wires, ticks = (int(n) for n in metas["number_of_voxels"][0])
        if not 0 < wires * ticks <= MOST_PIXELS:
            raise self.error(f"an image of {ticks} rows x {wires} columns", 0)
        return ImageShape(len(extents), ticks, wires)

    def _rows(self, entry) -> tuple[np.ndarray, np.ndarray]:
        # The entry's rows of voxel_extents and of image_meta.
        try:
            row = self.extents.read(entry, 1)[0]
            first, planes = int(row["first"]), int(row["N"])
            if not 0 < planes <= MOST_PLANES:
                raise ValueError(f"has {planes} planes")
            extents = self.plane_extents.read(first, planes).copy()
            return extents, self.meta.read(first, planes).copy()
        except ValueError as error:
            raise self.error(str(error), entry) from None

    def _ranges(self, entry, shape) -> list[tuple[int, int]]:
        # (first voxel, number) of each plane, in the order of the planes.
        extents, metas = self._rows(entry)
        found: dict[int, tuple[int, int]] = {}
        for row, size in zip(extents, metas["number_of_voxels"], strict=True):
            plane, first, count = int(row["ID"]), int(row["first"]), int(row["N"])
            if plane in found or plane >= shape.planes:
                raise self.error(f"there must be one plane of each id from 0 to {shape.planes - 1}", entry, plane)
            if tuple(size) != (shape.width, shape.height):
                here = f"{size[1]} rows x {size[0]} columns"
                raise self.error(f"is {here}, but the data set is {shape}: use files of one size", entry, plane)
            if first + count > len(self.voxels):
                last = first + count
                raise self.error(f"voxel_extents point to voxel {last}, but there are {len(self.voxels)}", entry, plane)
            if count > shape.pixels:
                raise self.error(f"{count} voxels are more than the image has pixels", entry, plane)
            found[plane] = (first, count)
        missing = sorted(set(range(shape.planes)) - set(found))
        if missing:
            raise self.error("the plane is missing", entry, missing[0])
        return [found[plane] for plane in range(shape.planes)]

    def read(self, entry: int, shape: ImageShape, like: EntryVoxels | None = None) -> EntryVoxels:
        """The voxels of an entry.

        Args:
            entry: of this file.
            shape: that its images must have.
            like: voxels whose coordinates are shared where the ids are the same: a label has mostly its image's pixels.
        """
        ranges = self._ranges(entry, shape)
        bounds = np.cumsum([0] + [count for _, count in ranges]).tolist()
        try:
            voxels = self._read_ranges(ranges)
        except ValueError as error:
            raise self._unreadable(ranges, entry, error) from None
        ids64, values = voxels["id"], voxels["value"].astype(np.float32)
        if len(ids64) and ids64.max() >= shape.pixels:
            self._check(ids64 < shape.pixels, bounds, entry, f"pixel id {{}} lies outside of {shape}", ids64)
        self._check(np.isfinite(values), bounds, entry, "a pixel's value is {}", values)
        ids = ids64.astype(np.uint32)
        if like is not None and bounds == like.bounds and np.array_equal(ids, like.ids):
            return EntryVoxels(ids, values, bounds, like.coordinates)
        self._check_unique(ids, bounds, entry)
        wires = ids // np.uint32(shape.height)
        rows, columns = (ids - wires * np.uint32(shape.height)).view(np.int32), wires.view(np.int32)
        return EntryVoxels(ids, values, bounds, [(rows[part], columns[part]) for part in _parts(bounds)])

    def check_classes(self, voxels: EntryVoxels, entry: int):
        """Raises DataError unless every value is a class index."""
        values = voxels.values
        right = (values == 0) | (values == 1) | (values == 2) if N_CLASSES == 3 else np.isin(values, range(N_CLASSES))
        self._check(right, voxels.bounds, entry, f"label {{:g}} is none of the classes 0 to {N_CLASSES - 1}", values)

    def _read_ranges(self, ranges) -> np.ndarray:
        # The voxels of all planes, one after the other. Mostly they lie so in the file.
        firsts, counts = zip(*ranges, strict=True)
        if all(first + count == after for (first, count), after in zip(ranges, firsts[1:], strict=False)):
            return self.voxels.read(firsts[0], sum(counts))
        return np.concatenate([self.voxels.read(first, count).copy() for first, count in ranges])

    def _unreadable(self, ranges, entry, error) -> DataError:
        # Reads the planes one by one to name the one that cannot be read.
        for plane, (first, count) in enumerate(ranges):
            try:
                self.voxels.read(first, count)
            except ValueError as own:
                return self.error(f"cannot be read: {own}", entry, plane)
        return self.error(f"cannot be read: {error}", entry)

    def _check(self, right, bounds, entry, reason, values):
        if not right.all():
            place = int(np.argmin(right))
            plane = int(np.searchsorted(bounds, place, side="right")) - 1
            raise self.error(reason.format(values[place]), entry, plane)

    def _check_unique(self, ids, bounds, entry):
        # The larcv library writes ids in ascending order; only where they are not must they be sorted to compare them.
        ascending = ids[1:] > ids[:-1]
        starts = [bound - 1 for bound in bounds[1:-1] if 0 < bound < len(ids)]
        ascending[starts] = True
        if ascending.all():
            return
        for plane, part in enumerate(_parts(bounds)):
            found, counts = np.unique(ids[part], return_counts=True)
            if (counts > 1).any():
                raise self.error(f"pixel id {found[counts > 1][0]} is there twice", entry, plane)
