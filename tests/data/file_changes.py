"""Ways to change a file of sound_files.py: each gives a function that takes the path."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from tests.data.sound_files import ENTRY, IMAGE, LABEL, ROW, SHAPE


def with_h5(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    """Opens the file and changes it."""

    def make(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return make


def cut(keep: float) -> Callable[[Path], None]:
    """Leaves the first part of the file; where `keep` is negative, leaves out so many bytes."""

    def make(path):
        size = path.stat().st_size
        os.truncate(path, int(size * keep) if keep >= 0 else size + int(keep))

    return make


def content(data: bytes) -> Callable[[Path], None]:
    """Another content altogether."""
    return lambda path: path.write_bytes(data) and None


def without(name) -> Callable[[Path], None]:
    """Removes a table or group."""

    def change(file):
        del file[name]

    return with_h5(change)


def table(name, new: Callable[[np.ndarray], np.ndarray], **options) -> Callable[[Path], None]:
    """Replaces a table by what `new` makes of its rows."""

    def change(file):
        rows = new(file[name][:])
        del file[name]
        file.create_dataset(name, data=rows, **(options or {"chunks": True, "compression": "gzip"}))

    return with_h5(change)


def value(name, column, row, new) -> Callable[[Path], None]:
    """One value of a table; `row` may be a slice."""

    def change(file):
        rows = file[name][:]
        rows[column][row] = new
        file[name][:] = rows

    return with_h5(change)


def voxel(group, column, new) -> Callable[[Path], None]:
    """One value of the tenth voxel of the plane that faults are in."""

    def change(file):
        rows = file[f"{group}/voxels"][:]
        first = int(file[f"{group}/voxel_extents"]["first"][ROW])
        rows[column][first + 10] = new(rows[column][first + 9]) if callable(new) else new
        file[f"{group}/voxels"][:] = rows

    return with_h5(change)


def columns(rows, **kinds):
    """The rows with some columns of another type, or (None) without them."""
    old = rows.dtype
    names = [name for name in old.names if kinds.get(name, "") is not None]
    out = np.zeros(len(rows), [(name, kinds.get(name, old[name])) for name in names])
    for name in names:
        if out[name].shape == rows[name].shape:
            out[name] = rows[name] if out.dtype[name].kind != "S" else b"12"
    return out


def chunk_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Changes the compressed bytes of the image's last chunk, which begins in the last entry's plane 1."""

    def make(path):
        with h5py.File(path) as file:
            places = file[f"{IMAGE}/voxels"].id
            place = places.get_chunk_info(places.get_num_chunks() - 1)
        data = bytearray(path.read_bytes())
        part = slice(place.byte_offset, place.byte_offset + place.size)
        data[part] = change(bytes(data[part]))
        path.write_bytes(data)

    return make


def index_entry(**new) -> Callable[[Path], None]:
    """Changes what the B-tree says of that chunk: size, mask or address."""

    def make(path):
        with h5py.File(path) as file:
            places = file[f"{IMAGE}/voxels"].id
            place = places.get_chunk_info(places.get_num_chunks() - 1)
        old = {"size": place.size, "mask": 0, "row": place.chunk_offset[0], "last": 0, "address": place.byte_offset}
        pack = struct.Struct("<IIQQQ").pack
        data = path.read_bytes()
        assert data.count(pack(*old.values())) == 1
        path.write_bytes(data.replace(pack(*old.values()), pack(*{**old, **new}.values())))

    return make


def unwritten(path):
    """Voxels that were never written: the table is longer than its chunks."""
    with h5py.File(path, "r+") as file:
        rows = file[f"{IMAGE}/voxels"][:]
        del file[f"{IMAGE}/voxels"]
        new = file.create_dataset(
            f"{IMAGE}/voxels", (len(rows),), rows.dtype, chunks=(400,), maxshape=(None,), compression="gzip"
        )
        new[: ROW * 400] = rows[: ROW * 400]


def permuted(file, group, order):
    """The planes of every entry named in another order."""
    for name in ("voxel_extents", "image_meta"):
        rows = file[f"{group}/{name}"][:]
        file[f"{group}/{name}"][:] = rows.reshape(-1, SHAPE.planes)[:, order].reshape(-1)


def emptied(file, group, planes):
    """No voxels on these planes of ENTRY; the voxels themselves stay where they are."""
    rows = file[f"{group}/voxel_extents"][:]
    for plane in planes:
        rows["N"][ENTRY * SHAPE.planes + plane] = 0
    file[f"{group}/voxel_extents"][:] = rows


def both(change) -> Callable[[Path], None]:
    """The same change of image and label."""
    return with_h5(lambda file: [change(file, group) for group in (IMAGE, LABEL)])


def meta(row, wires, ticks) -> Callable[[Path], None]:
    """Another image size."""
    return value(f"{IMAGE}/image_meta", "number_of_voxels", row, (wires, ticks))


def unknown_filter(name) -> Callable[[Path], None]:
    """A table whose chunks went through a filter that is not installed."""

    def change(file):
        rows = file[name][:]
        del file[name]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((len(rows),))
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space, kind = h5py.h5s.create_simple((len(rows),)), h5py.h5t.py_create(rows.dtype, logical=True)
        h5py.h5d.create(file.id, name.encode(), kind, space, properties).write_direct_chunk((0,), rows.tobytes())

    return with_h5(change)


def spoilt(name, column, kind, new, row=None) -> Callable[[Path], None]:
    """A column of another type, and in it one value that the usual type has not."""

    def change(rows):
        rows = columns(rows, **{column: kind})
        rows[column][ROW if row is None else row] = new
        return rows

    return table(name, change)
