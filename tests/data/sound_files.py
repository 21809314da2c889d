"""A small sound larcv3 file, and where its tables are."""

import numpy as np

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.detector import ImageShape

SHAPE = ImageShape(3, 32, 64)
ENTRIES = 4
IMAGE, LABEL = "/Data/sparse2d_sbndwire_group", "/Data/sparse2d_sbnd_cosmicseg_group"
EXTENTS, PLANES, VOXELS, META = (f"{IMAGE}/{t}" for t in ("extents", "voxel_extents", "voxels", "image_meta"))
# The row of a table that belongs to the plane which the faults of bad_files.py are in.
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
