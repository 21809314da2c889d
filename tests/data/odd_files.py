"""larcv3 files that are unusual but right.

ODDITIES: name -> what makes the file of sound_files.py so.
"""

from collections.abc import Callable
from pathlib import Path

from tests.data.file_changes import both, columns, emptied, permuted, table, value, voxel, with_h5
from tests.data.sound_files import ENTRY, EXTENTS, IMAGE, LABEL, META, PLANE, PLANES, ROW, VOXELS


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
