"""larcv3 files with one fault each, which must be refused.

FAULTS: name -> (what breaks the file of sound_files.py, what the one line must have after the file's name).
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.data.file_changes import (
    chunk_bytes,
    columns,
    content,
    cut,
    index_entry,
    meta,
    spoilt,
    table,
    unknown_filter,
    unwritten,
    value,
    voxel,
    with_h5,
    without,
)
from tests.data.sound_files import ENTRIES, ENTRY, EXTENTS, HERE, IMAGE, LABEL, META, PLANES, ROW, VOXELS

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
