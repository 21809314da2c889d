"""larcv3 files with one fault each, made from a small sound one.

FAULTS: files that must be refused; name -> (what breaks the file, what the one line must say after the file's name).
ODDITIES: files that are unusual but right; name -> what makes them so.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.detector import ImageShape

SHAPE = ImageShape(3, 32, 64)
ENTRIES = 4
IMAGE, LABEL = "/Data/sparse2d_sbndwire_group", "/Data/sparse2d_sbnd_cosmicseg_group"
# The row of a table that belongs to the plane which the faults below are in.
ENTRY, PLANE = 2, 1
ROW = ENTRY * SHAPE.planes + PLANE
HERE = f", entry {ENTRY}, plane {PLANE}: "


def sound_planes(rng, shape=SHAPE, pixels=400):
    """An image and its label, on the same pixels."""
    image, label = [], []
    for _ in range(shape.planes):
        ids = np.sort(rng.choice(shape.pixels, pixels, replace=False))
        columns, rows = (axis.astype(np.int32) for axis in np.divmod(ids, shape.height))
        image.append(PlanePixels(rows, columns, rng.uniform(5, 300, pixels).astype(np.float32)))
        label.append(PlanePixels(rows, columns, rng.integers(0, 3, pixels).astype(np.float32)))
    return tuple(image), tuple(label)


def sound_file(path, entries=ENTRIES, shape=SHAPE):
    """A file without faults."""
    rng = np.random.default_rng(5)
    with LarcvWriter(path, shape) as writer:
        for entry in range(entries):
            image, label = sound_planes(rng, shape)
            writer.write((1, 2, entry), {"sbndwire": image, "sbnd_cosmicseg": label})
    return path


# ------------------------------------------------------------------------------------------------- ways to break a file


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


EXTENTS, PLANES, VOXELS, META = (f"{IMAGE}/{t}" for t in ("extents", "voxel_extents", "voxels", "image_meta"))
CUT = ": is cut short"
BROKEN = ": is no HDF5 file, or a broken one|: is cut short"
LAST = f", entry {ENTRIES - 1}, plane 1: "

FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    # The file as a whole.
    "missing": (lambda path: path.unlink(), ": no such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), ": is no file"),
    "empty": (content(b""), ": is empty"),
    "text": (content(b"entry,plane,row\n" * 99), ": is no HDF5 file"),
    "signature and noise": (content(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 9), BROKEN),
    "cut at the signature": (lambda path: os.truncate(path, 7), ": is no HDF5 file"),
    "cut after the superblock": (lambda path: os.truncate(path, 96), BROKEN),
    "cut at a tenth": (cut(0.1), CUT),
    "cut in the middle": (cut(0.5), CUT),
    "cut at nine tenths": (cut(0.9), CUT),
    "one byte missing": (cut(-1), CUT),
    # Groups and tables.
    "no Events": (without("Events"), ": has no table /Events/event_id"),
    "no Data": (without("Data"), ": has no sparse2d product 'sbndwire' .it has: none"),
    "no image": (without(IMAGE), ": has no sparse2d product 'sbndwire' .it has: sbnd_cosmicseg"),
    "no extents": (without(EXTENTS), ": has no table .*/extents"),
    "no voxel_extents": (without(PLANES), ": has no table .*/voxel_extents"),
    "no voxels": (without(VOXELS), ": has no table .*/voxels"),
    "no image_meta": (without(META), ": has no table .*/image_meta"),
    "no voxels of the label": (without(f"{LABEL}/voxels"), ": has no table .*cosmicseg_group/voxels"),
    "extents without N": (table(EXTENTS, lambda r: columns(r, N=None)), ": table .*/extents has no column N"),
    "voxels without value": (table(VOXELS, lambda r: columns(r, value=None)), ": table .*/voxels has no column value"),
    "voxels of plain numbers": (table(VOXELS, lambda r: r["id"]), ": table .*/voxels has no column id"),
    "values of text": (table(VOXELS, lambda r: columns(r, value="S8")), ": table .*column value holds .*not numbers"),
    "ids of floats": (table(VOXELS, lambda r: columns(r, id="f8")), ": table .*: column id holds float64"),
    "extents of floats": (table(EXTENTS, lambda r: columns(r, first="f8")), ": table .*: column first holds float64"),
    "voxels in two dimensions": (table(VOXELS, lambda r: r.reshape(-1, 2)), ": table .* has 2 dimensions"),
    "a group for a table": (
        with_h5(lambda file: (file.move(VOXELS, "/x"), file.create_group(VOXELS))),
        ": has no table .*/voxels",
    ),
    "images of three dimensions": (
        table(META, lambda r: columns(r, number_of_voxels=("u8", (3,)))[:0]),
        ": sbndwire: image_meta is not that of two-dimensional images",
    ),
    "no entries": (
        with_h5(
            lambda file: [file[t].resize((0,)) for t in ("/Events/event_id", EXTENTS, f"{LABEL}/extents")] and None
        ),
        ": has no entries",
    ),
    "more event ids than entries": (
        with_h5(lambda file: file["/Events/event_id"].resize((ENTRIES + 1,))),
        f": has {ENTRIES + 1} event ids but {ENTRIES} entries",
    ),
    "fewer labels than images": (
        with_h5(lambda file: file[f"{LABEL}/extents"].resize((ENTRIES - 1,))),
        f": has {ENTRIES} event ids but {ENTRIES - 1} entries of sbnd_cosmicseg",
    ),
    # Where an entry's rows are.
    "extents beyond voxel_extents": (value(EXTENTS, "first", ENTRY, 11), f", entry {ENTRY}: .* lie beyond the 12 rows"),
    "extents at 2^64 - 1": (value(EXTENTS, "first", ENTRY, 2**64 - 1), f", entry {ENTRY}: .* lie beyond the 12 rows"),
    "four thousand million planes": (value(EXTENTS, "N", ENTRY, 2**32 - 1), f", entry {ENTRY}: .*4294967295 planes"),
    "voxel_extents beyond voxels": (
        value(PLANES, "first", ROW, 4700),
        HERE + ".*to voxel 5100, but there are 4800",
    ),
    "voxel_extents at 2^64 - 1": (value(PLANES, "first", ROW, 2**64 - 1), HERE + ".*point to voxel"),
    "four thousand million voxels": (value(PLANES, "N", ROW, 2**32 - 1), HERE + ".*point to voxel"),
    "more voxels than pixels": (value(PLANES, "N", 0, 3000), ", entry 0, plane 0: .*3000 voxels are more"),
    # Planes.
    "a plane missing": (value(EXTENTS, "N", ENTRY, 2), f", entry {ENTRY}, plane 2: .*the plane is missing"),
    "a plane twice": (value(PLANES, "ID", ROW, 0), f", entry {ENTRY}, plane 0: .*one plane of each id from 0 to 2"),
    "a seventh plane": (value(PLANES, "ID", ROW, 7), f", entry {ENTRY}, plane 7: .*one plane of each id from 0 to 2"),
    "two names for a plane": (value(META, "projection_id", ROW, 2), HERE + ".*image_meta calls it plane 2"),
    "an image of another size": (meta(ROW, 64, 16), HERE + ".*is 16 rows x 64 columns, but the data set is"),
    "an image of no size": (meta(0, 0, 32), ", entry 0: .*an image of 32 rows x 0 columns"),
    "an image of 2^62 pixels": (meta(0, 2**31, 2**31), ", entry 0: .*an image of 2147483648 rows"),
    "a label of another size": (
        value(f"{LABEL}/image_meta", "number_of_voxels", ROW, (32, 32)),
        HERE + "sbnd_cosmicseg: is 32 rows x 32 columns",
    ),
    # Voxels.
    "an id twice": (voxel(IMAGE, "id", lambda before: before), HERE + r"sbndwire: pixel id \d+ is there twice"),
    "an id outside": (voxel(IMAGE, "id", 32 * 64), HERE + "sbndwire: pixel id 2048 lies outside"),
    "an id at 2^64 - 2": (voxel(IMAGE, "id", 2**64 - 2), HERE + "sbndwire: pixel id 18446744073709551614 lies outside"),
    "NaN": (voxel(IMAGE, "value", np.nan), HERE + "sbndwire: a pixel's value is nan"),
    "infinity": (voxel(IMAGE, "value", np.inf), HERE + "sbndwire: a pixel's value is inf"),
    "a negative label": (voxel(LABEL, "value", -1), HERE + "sbnd_cosmicseg: label -1 is none of the classes"),
    "a label of 3": (voxel(LABEL, "value", 3), HERE + "sbnd_cosmicseg: label 3 is none of the classes"),
    "half a label": (voxel(LABEL, "value", 1.5), HERE + "sbnd_cosmicseg: label 1.5 is none of the classes"),
    "a label NaN": (voxel(LABEL, "value", np.nan), HERE + "sbnd_cosmicseg: a pixel's value is nan"),
    "an id of the label twice": (
        voxel(LABEL, "id", lambda before: before),
        HERE + r"sbnd_cosmicseg: pixel id \d+ is",
    ),
    # Columns of other types, with values that the usual ones have not.
    "a negative id": (spoilt(VOXELS, "id", "<i8", -3, ROW * 400 + 10), HERE + "sbndwire: pixel id -3 lies outside"),
    "a value beyond float32": (
        spoilt(VOXELS, "value", "<f8", 1e300, ROW * 400 + 10),
        HERE + r"sbndwire: a pixel's value is 1e\+300",
    ),
    "a label of 300": (
        spoilt(f"{LABEL}/voxels", "value", "<u2", 300, ROW * 400 + 10),
        HERE + "sbnd_cosmicseg: label 300 is none of the classes",
    ),
    "voxels from -400 on": (spoilt(PLANES, "first", "<i8", -400), HERE + ".*400 voxels from -400 on"),
    "-1 voxels": (spoilt(PLANES, "N", "<i4", -1), HERE + ".*-1 voxels from 2800 on"),
    "plane -1": (spoilt(PLANES, "ID", "<i4", -1), f", entry {ENTRY}, plane -1: .*one plane of each id"),
    "planes from -1 on": (spoilt(EXTENTS, "first", "<i8", -1, ENTRY), f", entry {ENTRY}: .* lie beyond the 12 rows"),
    "-1 planes": (spoilt(EXTENTS, "N", "<i8", -1, ENTRY), f", entry {ENTRY}: .* lie beyond the 12 rows"),
    "an image of -64 x -32": (
        spoilt(META, "number_of_voxels", ("<i8", (2,)), (-64, -32), 0),
        ", entry 0: sbndwire: an image of -32 rows x -64 columns",
    ),
    "an event id beyond 64 bits with a sign": (
        spoilt("/Events/event_id", "run", "<u8", 2**64 - 1, ENTRY),
        f", entry {ENTRY}: /Events/event_id: .18446744073709551615, 2, 2. are beyond 64-bit",
    ),
    "two numbers for one": (
        table(EXTENTS, lambda r: columns(r, first=("<u8", (2,)))),
        ": table .*/extents: column first holds .*, not whole numbers",
    ),
    # Chunks.
    "a filter that is not there": (
        unknown_filter(VOXELS),
        f": table {VOXELS} is compressed with the HDF5 filter 32015, .*h5repack",
    ),
    "the same for the event ids": (
        unknown_filter("/Events/event_id"),
        ": table /Events/event_id is compressed with the HDF5 filter 32015",
    ),
    "a chunk of noise": (chunk_bytes(lambda data: bytes(len(data))), LAST + "sbndwire: cannot be read: .*broken"),
    "a wrong checksum": (chunk_bytes(lambda d: d[:-4] + b"\0\1\2\3"), LAST + "sbndwire: cannot be read: .*broken"),
    "a chunk cut short": (index_entry(size=100), LAST + "sbndwire: cannot be read: .*broken"),
    "a chunk beyond the file": (index_entry(address=1 << 40), LAST + "sbndwire: cannot be read: .*cut short"),
    "a chunk of four gigabytes": (index_entry(size=2**32 - 1), LAST + "sbndwire: cannot be read: .*cut short"),
    "a chunk stored as it is": (index_entry(mask=1), LAST + "sbndwire: cannot be read: .*a stored chunk has"),
    "voxels never written": (unwritten, HERE + "sbndwire: cannot be read: .*never written"),
}


def _turned(file):
    # Voxels of a plane in another order: ids need not ascend.
    for group in (IMAGE, LABEL):
        rows = file[f"{group}/voxels"][:]
        first = ROW * 400
        rows[first : first + 400] = rows[first : first + 400][::-1]
        file[f"{group}/voxels"][:] = rows


def _without_planes(file, group):
    rows = file[f"{group}/extents"][:]
    rows["N"][ENTRY] = 0
    file[f"{group}/extents"][:] = rows


# What the larcv library would read wrongly, and is therefore not given.
NOT_FOR_THE_LIBRARY = {
    "an empty plane",
    "planes in another order",
    "planes of the label in another order",
    "an image that is not valid",
}
ODDITIES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "an empty plane": both(lambda file, group: emptied(file, group, [PLANE])),
    "an empty event": both(lambda file, group: emptied(file, group, range(3))),
    "an event without planes": both(_without_planes),
    "a label without pixels": with_h5(lambda file: emptied(file, LABEL, range(3))),
    "an image without pixels": with_h5(lambda file: emptied(file, IMAGE, range(3))),
    "planes in another order": both(lambda file, group: permuted(file, group, [2, 0, 1])),
    "planes of the label in another order": with_h5(lambda file: permuted(file, LABEL, [1, 0, 2])),
    "a pixel of the label elsewhere": voxel(LABEL, "id", lambda before: before + 1 if before % 32 < 30 else before - 9),
    "pixels in another order": with_h5(_turned),
    "no compression": table(VOXELS, lambda rows: rows, chunks=(1000,)),
    "one block": table(VOXELS, lambda rows: rows, chunks=None),
    "other filters": table(VOXELS, lambda rows: rows, chunks=(1000,), compression="gzip", shuffle=True),
    "other chunks": table(VOXELS, lambda rows: rows, chunks=(77,), compression="gzip"),
    "another byte order": table(VOXELS, lambda rows: columns(rows, id=">u8", value=">f4")),
    "values of 64 bits": table(VOXELS, lambda rows: columns(rows, value="f8")),
    "ids of 32 bits": table(VOXELS, lambda rows: columns(rows, id="u4")),
    "ids of 64 bits with a sign": table(VOXELS, lambda rows: columns(rows, id="<i8")),
    "ids of 16 bits with a sign": table(VOXELS, lambda rows: columns(rows, id=">i2")),
    **{
        f"labels of {kind}": table(f"{LABEL}/voxels", lambda rows, kind=kind: columns(rows, value=kind))
        for kind in ("u1", "<i2", ">u4", "<i8", "<f2", ">f8")
    },
    "extents with a sign": table(EXTENTS, lambda rows: columns(rows, first="<i8", N="<i2")),
    "voxel_extents of other widths": table(PLANES, lambda rows: columns(rows, first=">u2", N="<u8", ID="i1")),
    "image_meta of other widths": table(
        META, lambda rows: columns(rows, projection_id="i1", number_of_voxels=("<i4", (2,)))
    ),
    "event ids of 32 bits": table("/Events/event_id", lambda rows: columns(rows, run="<u4", subrun=">i4", event="u1")),
    "an image that is not valid": value(META, "valid", ROW, 0),
    "a checksum": table(VOXELS, lambda rows: rows, chunks=(1000,), compression="gzip", fletcher32=True),
}
