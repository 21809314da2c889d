"""larcv3 files read through h5py and tables.py.

Opening a file reads the first row of a few tables; an entry's rows are looked up when it is read, so that neither the
time to open a file nor the memory grows with its length. Nothing in the file is believed unchecked.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from cosmictagger_tf.config import TruthConfig
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.foreign import why_not_larcv
from cosmictagger_tf.data.larcv_format import VOXEL_DTYPE, group_name
from cosmictagger_tf.data.product_tables import products_with_tables
from cosmictagger_tf.data.tables import Hdf5File, Table
from cosmictagger_tf.data.truth_tables import TruthTables
from cosmictagger_tf.data.voxels import EntryVoxels, follow_each_other, parts, read_quickly
from cosmictagger_tf.detector import N_CLASSES, ImageShape, size_text
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.text import counted, listed

# An image beyond this many pixels a plane is taken for a corrupt file rather than allocated.
MOST_PIXELS = 1 << 26
MOST_PLANES = 64
# Events whose ids are read at once.
BLOCK = 1 << 16


class LarcvFile:
    """One open larcv3 file; `read` may be called from several threads.

    Args:
        path: the file.
        producer_image: of the sparse2d product that is the image.
        producer_label: of the one that is the label; "" for none.
        truth: None, or which products have the truth of each event, which is read then.

    Attributes:
        shape: full resolution, as the first entry has it.
        has_labels: whether the file has the label product.
        truth_sources: None without truth.

    Raises:
        DataError: it is no larcv3 file, has no such image, or its products have different lengths.
    """

    def __init__(self, path: str, producer_image: str, producer_label: str, truth: TruthConfig | None = None):
        self.path = path
        self.file = Hdf5File(path)
        self.identity, self.check_unchanged = self.file.identity, self.file.check_unchanged
        try:
            with self.file.sound():
                reason = why_not_larcv(self.file.h5)
                if reason:
                    raise DataError(path, reason)
                self.image = Sparse2d(self.file, producer_image)
                self.has_labels = bool(producer_label) and bool(
                    self.file.members(group_name("sparse2d", producer_label))
                )
                self.label = Sparse2d(self.file, producer_label) if self.has_labels else None
                self.event_ids = self.file.table("/Events/event_id", {"run": "iu", "subrun": "iu", "event": "iu"})
                self._check_lengths()
                self.shape = self.image.first_shape()
                self.pixel_size = self.image.pixel_size()
                self.truth = TruthTables(self.file, truth, len(self), self.shape) if truth else None
                self.truth_sources = self.truth.sources() if self.truth else None
        except BaseException:
            self.file.close()
            raise

    def __len__(self) -> int:
        return len(self.event_ids)

    def products(self) -> list["Sparse2d"]:
        """The image and, where there is one, the label."""
        return [product for product in (self.image, self.label) if product is not None]

    def tables(self) -> list[Table]:
        """All tables that are read."""
        return [self.event_ids, *(table for product in self.products() for table in product.tables)]

    def _check_lengths(self):
        entries = len(self.event_ids)
        if not entries:
            raise DataError(self.path, "has no entries")
        for product in self.products():
            if len(product.extents) != entries:
                images = f"{counted(len(product.extents), 'entry')} of {product.producer}"
                raise DataError(self.path, f"has {counted(entries, 'event id')} but {images}: was it closed?")

    def event_id(self, entry: int) -> tuple[int, int, int]:
        """(run, subrun, event) of an entry of this file."""
        try:
            row = self.event_ids.read(entry, 1)[0]
        except ValueError as error:
            raise DataError(self.path, str(error), entry) from None
        event_id = int(row["run"]), int(row["subrun"]), int(row["event"])
        if max(event_id) >= 2**63:
            raise DataError(self.path, f"/Events/event_id: {event_id} are beyond 64-bit integers with a sign", entry)
        return event_id

    def content(self, first: int, count: int) -> Iterator[list[np.ndarray]]:
        """What distinguishes `count` events, block by block: their ids, and how many voxels their planes have.

        Ids alone do not: in some files they are all the same.
        """
        for begin in range(first, first + count, BLOCK):
            size = min(BLOCK, first + count - begin)
            try:
                ids = self.event_ids.read(begin, size)
                numbers = np.stack([ids[name].astype(np.int64) for name in ("run", "subrun", "event")])
                yield [numbers, *(product.voxel_counts(begin, size) for product in self.products())]
            except ValueError:
                # Bad events, which may be skipped.
                yield [np.frombuffer(b"unreadable", np.uint8)]

    def read(self, entry: int, number: int | None = None) -> Event:
        """An entry of this file, as the entry `number` of a data set; raises DataError."""
        return self.event(entry, number, lambda product, like: product.read(entry, self.shape, like))

    def event(self, entry: int, number: int | None, read: Callable) -> Event:
        """As `read`, with a function (Sparse2d, EntryVoxels | None) -> EntryVoxels; see Sparse2d.read."""
        image, label = read(self.image, None), None
        if self.label is not None:
            voxels = read(self.label, image)
            self.label.check_classes(voxels, entry)
            label = voxels.planes()
        event_id = self.event_id(entry)
        truth = self.truth.read(entry) if self.truth else None
        return Event(entry if number is None else number, event_id, image.planes(), label, self.shape, truth)

    def close(self):
        self.file.close()


def _halves(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # The lower and upper 32 bits of each id, where they lie: half as much to go through as the whole ids.
    words = ids.astype("<u8", copy=False)[:, None].view("<u4")
    return words[:, 0], words[:, 1]


def _instead(file: Hdf5File) -> str:
    # What a file has where the product that was asked for is missing, or an empty group.
    products = products_with_tables(file)
    sparse = [name.removeprefix("sparse2d_") for name in products if name.startswith("sparse2d_")]
    if products and not sparse:
        return f"(it has: {listed(products)}): only sparse2d products are read, with one sparse image a wire plane"
    return f"(it has: {listed(sparse)}); see --producer_image and --producer_label"


class Sparse2d:
    """One sparse2d product of an open file."""

    def __init__(self, file: Hdf5File, producer: str):
        self.path, self.producer = file.path, producer
        group = group_name("sparse2d", producer)
        if not file.members(group):
            raise DataError(file.path, f"has no sparse2d product '{producer}' {_instead(file)}")
        self.extents = file.table(f"{group}/extents", {"first": "iu", "N": "iu"})
        self.plane_extents = file.table(f"{group}/voxel_extents", {"first": "iu", "N": "iu", "ID": "iu"})
        self.voxels = file.table(f"{group}/voxels", {"id": "iu", "value": "iuf"})
        self.meta = file.table(f"{group}/image_meta", {"projection_id": "iu", "number_of_voxels": "iu*"})
        if self.meta.dtype["number_of_voxels"].shape != (2,):
            raise DataError(file.path, f"{producer}: image_meta is not that of two-dimensional images")

    @property
    def tables(self) -> list[Table]:
        """Its tables."""
        return [self.extents, self.plane_extents, self.voxels, self.meta]

    @property
    def converted(self) -> bool:
        """Whether ids or values are of other types than the larcv library's."""
        return any(self.voxels.dtype[name] != VOXEL_DTYPE[name] for name in ("id", "value"))

    def error(self, reason: str, entry: int | None, plane: int | None = None) -> DataError:
        """What is raised for a fault of this product."""
        return DataError(self.path, f"{self.producer}: {reason}", entry, plane)

    def first_shape(self) -> ImageShape:
        """The shape of the images of the first entry that has any."""
        entry, extents, metas = self._first_image
        wires, ticks = (int(n) for n in metas["number_of_voxels"][0])
        if min(wires, ticks) <= 0 or wires * ticks > MOST_PIXELS:
            raise self.error(f"an image of {size_text(ticks, wires)}", entry)
        return ImageShape(len(extents), ticks, wires)

    def pixel_size(self) -> tuple[float, float] | None:
        """Height and width of a pixel of that entry in image_meta's units.

        None where image_meta has no sizes, or none that a pixel can have, and where its unit is the pixel, as in the
        first SBND set. In the second set it is cm.
        """
        if "image_sizes" not in (self.meta.dtype.names or ()):
            return None
        _, _, metas = self._first_image
        sizes = np.ravel(metas["image_sizes"][0]).astype(np.float64)
        if sizes.shape != (2,) or not np.isfinite(sizes).all() or (sizes <= 0).any():
            return None
        width, height = (sizes / metas["number_of_voxels"][0]).tolist()
        return None if width == height == 1 else (height, width)

    @cached_property
    def _first_image(self) -> tuple[int, np.ndarray, np.ndarray]:
        # The first entry that has any, and its rows.
        for entry in range(len(self.extents)):
            extents, metas = self._rows(entry)
            if len(extents):
                return entry, extents, metas
        raise self.error("no entry has an image", None)

    def _rows(self, entry) -> tuple[np.ndarray, np.ndarray]:
        # The entry's rows of voxel_extents and of image_meta.
        try:
            row = self.extents.read(entry, 1)[0]
            first, planes = int(row["first"]), int(row["N"])
            if planes > MOST_PLANES:
                raise ValueError(f"has {planes} planes")
            extents = self.plane_extents.read(first, planes).copy()
            return extents, self.meta.read(first, planes).copy()
        except ValueError as error:
            raise self.error(str(error), entry) from None

    def voxel_counts(self, first: int, count: int) -> np.ndarray:
        """uint64, of each plane of `count` entries from `first` on; raises ValueError where they cannot be read."""
        rows = self.extents.read(first, count)
        begin, end = int(rows["first"][0]), int(rows["first"][-1]) + int(rows["N"][-1])
        return self.plane_extents.read(begin, end - begin)["N"].astype(np.uint64)

    def ranges(self, entry: int, shape: ImageShape) -> list[tuple[int, int]]:
        """(first voxel, number of voxels) of each plane, in the order of the planes.

        The larcv library writes no planes at all for an event whose image was never set: all planes are empty then.

        Raises:
            DataError: a plane is missing, twice there, of another size, or its voxels lie beyond the table.
        """
        extents, metas = self._rows(entry)
        if not len(extents):
            return [(0, 0)] * shape.planes
        ranges: dict[int, tuple[int, int]] = {}
        # As plain numbers: they are few, and numpy's are slow one by one.
        columns = [extents[name].tolist() for name in ("ID", "first", "N")]
        columns += [metas[name].tolist() for name in ("projection_id", "number_of_voxels")]
        for plane, first, count, projection, (wires, ticks) in zip(*columns, strict=True):
            if plane in ranges or not 0 <= plane < shape.planes:
                raise self.error(f"there must be one plane of each id from 0 to {shape.planes - 1}", entry, plane)
            if projection != plane:
                raise self.error(f"image_meta calls it plane {projection}", entry, plane)
            if (wires, ticks) != (shape.width, shape.height):
                size = size_text(ticks, wires)
                raise self.error(f"is {size}, but the data set is {shape}: use files of one size", entry, plane)
            if min(first, count) < 0:
                raise self.error(f"voxel_extents name {counted(count, 'voxel')} from {first} on", entry, plane)
            if first + count > len(self.voxels):
                last = first + count
                raise self.error(f"voxel_extents point to voxel {last}, but there are {len(self.voxels)}", entry, plane)
            if count > shape.pixels:
                raise self.error(f"{count} voxels are more than the image has pixels", entry, plane)
            ranges[plane] = (first, count)
        missing = sorted(set(range(shape.planes)) - set(ranges))
        if missing:
            raise self.error("the plane is missing", entry, missing[0])
        return [ranges[plane] for plane in range(shape.planes)]

    def is_valid(self, entry: int) -> bool:
        """Whether image_meta, which must have a column for it, calls all planes valid."""
        return bool(self._rows(entry)[1]["valid"].all())

    def in_one_piece(self, entry: int) -> bool:
        """Whether the voxels of the planes follow each other, in the order in which voxel_extents names the planes."""
        extents, _ = self._rows(entry)
        firsts, counts = (extents[name].astype(np.int64) for name in ("first", "N"))
        expected = firsts[:1] + np.cumsum(counts) - counts
        return bool((firsts == expected)[counts > 0].all())

    def read(self, entry: int, shape: ImageShape, like: EntryVoxels | None = None) -> EntryVoxels:
        """The voxels of an entry.

        Args:
            entry: of this file.
            shape: that its images must have.
            like: voxels whose coordinates are shared where the ids are the same: a label has mostly its image's pixels.
        """
        ranges = self.ranges(entry, shape)
        quick = read_quickly(self.voxels, ranges, shape, like)
        if quick is not None:
            return quick
        try:
            voxels = self._read_ranges(ranges)
        except ValueError as error:
            raise self._unreadable(ranges, entry, error) from None
        return self.checked(voxels["id"], voxels["value"], [count for _, count in ranges], entry, shape, like)

    def checked(self, ids, values, counts, entry: int, shape: ImageShape, like: EntryVoxels | None) -> EntryVoxels:
        """The voxels of an entry, after the checks.

        Args:
            ids: integers [n], the planes one after the other.
            values: numbers [n].
            counts: voxels of each plane.
            entry, shape, like: as in `read`.

        Raises:
            DataError: an id lies outside the image or is there twice, or a value is not finite as a float32.
        """
        bounds = np.cumsum([0, *counts]).tolist()
        with np.errstate(over="ignore"):
            own, values = values, values.astype(np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            self._check(finite, bounds, entry, "a pixel's value is {}", own)
        low, high = _halves(ids)
        inside = not high.max(initial=0)
        if inside and like is not None and bounds == like.bounds and np.array_equal(low.view(np.int32), like.ids):
            return EntryVoxels(like.ids, values, bounds, like.coordinates)
        if not inside or low.max(initial=0) >= shape.pixels:
            self._check((ids >= 0) & (ids < shape.pixels), bounds, entry, f"pixel id {{}} lies outside of {shape}", ids)
        low = low.view(np.int32)
        # A copy: what was read may lie in a buffer that the next read overwrites.
        low = low.copy()
        self._check_unique(low, bounds, entry)
        # In int32, which an image of at most MOST_PIXELS fits.
        wires = low // np.int32(shape.height)
        rows = low - wires * np.int32(shape.height)
        return EntryVoxels(low, values, bounds, [(rows[part], wires[part]) for part in parts(bounds)])

    def check_classes(self, voxels: EntryVoxels, entry: int):
        """Raises DataError unless every value is a class index."""
        values = voxels.values
        right = (values == 0) | (values == 1) | (values == 2) if N_CLASSES == 3 else np.isin(values, range(N_CLASSES))
        self._check(right, voxels.bounds, entry, f"label {{:g}} is none of the classes 0 to {N_CLASSES - 1}", values)

    def _read_ranges(self, ranges) -> np.ndarray:
        # The voxels of all planes, one after the other. Mostly they lie so in the file.
        if follow_each_other(ranges):
            return self.voxels.read(ranges[0][0], sum(count for _, count in ranges))
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
        for plane, part in enumerate(parts(bounds)):
            unique, counts = np.unique(ids[part], return_counts=True)
            if (counts > 1).any():
                raise self.error(f"pixel id {unique[counts > 1][0]} is there twice", entry, plane)
