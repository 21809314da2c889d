"""The voxels of an entry as the planes' pixels, and the quick way to them.

Every voxel is checked. loops.c does it in the pass that splits the voxels into columns, and reports only whether all is
well; where it is not, or loops.c was not compiled, larcv_h5.py checks with NumPy and names the fault.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.inflate import inflater
from cosmictagger_tf.data.loops import LOOPS, PackedVoxels, address
from cosmictagger_tf.data.tables import Table, scratch
from cosmictagger_tf.detector import ImageShape


@dataclass(frozen=True)
class EntryVoxels:
    """The voxels of an entry, its planes one after the other.

    Attributes:
        ids: int32 [n], as in the file.
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
        values = [self.values[part] for part in parts(self.bounds)]
        return tuple(PlanePixels(*where, value) for where, value in zip(self.coordinates, values, strict=True))


def parts(bounds: list[int]) -> list[slice]:
    """Where each plane is."""
    return [slice(*pair) for pair in pairwise(bounds)]


def read_quickly(
    table: Table, ranges: Sequence[tuple[int, int]], shape: ImageShape, like: EntryVoxels | None
) -> EntryVoxels | None:
    """The voxels of an entry, each chunk inflated, checked and split while it is in the processor's cache.

    Args:
        table: of voxels, with the columns id and value.
        ranges: (first voxel, number of voxels) of each plane.
        shape: of the images.
        like: voxels whose ids these mostly have, and whose coordinates are shared then.

    Returns:
        None where anything needs another look: loops.c or libdeflate is missing, the table is not as the larcv
        library makes it, the planes do not lie one after the other, ids do not ascend or lie outside of the image, a
        value is not finite, or a chunk is broken.
    """
    tool = inflater()
    columns = table.dtype.fields
    if not LOOPS or not tool or not follow_each_other(ranges) or not _usual(table.dtype):
        return None
    bounds = np.cumsum([0, *(count for _, count in ranges)], dtype=np.uintp)
    n, known = int(bounds[-1]), bounds.tolist()
    try:
        packed = table.packed(ranges[0][0], n)
    except ValueError:
        return None
    sizes = np.array(packed.sizes, np.uintp)
    room = scratch("room", packed.length)
    chunks = address(packed.data), address(sizes), len(sizes), table.chunk_rows
    layout = table.dtype.itemsize, columns["id"][1], columns["value"][1]
    source = ctypes.byref(PackedVoxels(tool, *chunks, *layout, address(room), packed.begin, n))
    values = np.empty(n, np.float32)
    if like is not None and known == like.bounds and LOOPS.copy_values(source, address(like.ids), address(values)):
        return EntryVoxels(like.ids, values, known, like.coordinates)
    ids, rows, wires = np.empty((3, n), np.int32)
    written = (address(array) for array in (ids, values, rows, wires))
    if not LOOPS.split_voxels(source, address(bounds), shape.height, shape.width, *written):
        return None
    return EntryVoxels(ids, values, known, [(rows[part], wires[part]) for part in parts(known)])


def follow_each_other(ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether the voxels of each plane begin where those of the plane before end, as they mostly do."""
    return all(first + count == after for (first, count), (after, _) in pairwise(ranges))


def _usual(kind: np.dtype) -> bool:
    # A negative id is taken for one far outside of the image, and gets its other look.
    return kind["id"] in (np.dtype("<u8"), np.dtype("<i8")) and kind["value"] == np.dtype("<f4")
