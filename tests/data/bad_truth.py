"""Ways in which the truth of readouts is damaged in a file of truth_files.py, and the line that each must end in.

Faults are in entry 1; on a plane, where they are on one, plane 1.
"""

import h5py
import numpy as np

from tests.data.truth_files import BOXES, CLUSTERS, PARTICLES

PLANE = ", entry 1, plane 1: "


def value(name, column, row, new):
    """One value of a table."""

    def change(group):
        rows = group[name][:]
        rows[column][row] = new
        group[name][:] = rows

    return change


def renamed(name):
    """A table by another name."""
    return lambda group: group.move(name, "other")


def shorter(name):
    """A table without its last row."""
    return lambda group: group[name].resize((len(group[name]) - 1,))


def retyped(name, **kinds):
    """A table whose columns are of other types; None for a column that is not there."""

    def change(group):
        old = group[name][:]
        names = [n for n in old.dtype.names if kinds.get(n, "") is not None]
        new = np.zeros(len(old), [(n, kinds.get(n, old.dtype[n])) for n in names])
        for column in set(names) - set(kinds):
            new[column] = old[column]
        del group[name]
        group.create_dataset(name, data=new)

    return change


def noise(name):
    """The bytes of a table's only chunk are noise."""

    def change(group):
        place = group[name].id.get_chunk_info(0)
        path = group.file.filename
        group.file.flush()
        with open(path, "r+b") as file:
            file.seek(place.byte_offset)
            file.write(bytes(place.size))

    return change


BOX, CLUSTER = "bbox2d_bbox_neutrino", "cluster2d_sbndneutrino"
PARTICLE = "particle_sbndneutrino"
# What is wrong -> the product's group, what makes it so, and the line from the file's name on.
FAULTS = {
    "boxes of an entry that are not there": (
        BOXES,
        value("extents", "first", 1, 99),
        f", entry 1: {BOX}: extents point beyond the 9 rows",
    ),
    "more boxes than there are": (
        BOXES,
        value("bbox_extents", "N", 4, 99),
        f"{PLANE}{BOX}: extents point beyond the 6 rows",
    ),
    "a plane of boxes twice": (
        BOXES,
        value("bbox_extents", "ID", 4, 0),
        rf", entry 1: {BOX}: planes \[0, 0, 2\] instead of 0 to 2",
    ),
    "a plane of boxes too many": (BOXES, value("bbox_extents", "ID", 5, 3), rf", entry 1: {BOX}: planes \[0, 1, 3\]"),
    "two names for a plane of boxes": (
        BOXES,
        value("image_meta", "projection_id", 4, 2),
        f"{PLANE}{BOX}: image_meta calls it plane 2",
    ),
    "a box nowhere": (BOXES, value("bboxes", "centroid", 4, np.nan), rf"{PLANE}{BOX}: a box at \[nan, nan\]"),
    "a box at infinity": (BOXES, value("bboxes", "centroid", 4, (1, np.inf)), rf"{PLANE}{BOX}: a box at \[1.0, inf\]"),
    "boxes in an image of no size": (
        BOXES,
        value("image_meta", "image_sizes", 4, 0),
        rf"{PLANE}{BOX}: an image of size \[0.0, 0.0\]",
    ),
    "boxes in an image from nowhere": (
        BOXES,
        value("image_meta", "origin", 4, np.nan),
        rf"{PLANE}{BOX}: an image of .* begins at \[nan, nan\]",
    ),
    "boxes that cannot be inflated": (BOXES, noise("bboxes"), f", entry 0: {BOX}: .*bboxes: .*broken"),
    "boxes without image_meta": (BOXES, renamed("image_meta"), f": has no table /Data/{BOX}_group/image_meta"),
    "boxes without boxes": (BOXES, renamed("bboxes"), f": has no table /Data/{BOX}_group/bboxes"),
    "boxes of too few entries": (BOXES, shorter("extents"), f": product {BOX} has 2 entries, but the file 3 event ids"),
    "boxes with too few images": (BOXES, shorter("image_meta"), f": .*{BOX}_group/image_meta has 8 rows, but .* 9"),
    "boxes without a centre": (
        BOXES,
        retyped("bboxes", centroid=None),
        ": table .*/bboxes has no column centroid",
    ),
    "boxes of one number": (BOXES, retyped("bboxes", centroid="<f8"), f": .*{BOX}.*: column centroid holds float64"),
    "a cluster's pixel outside": (
        CLUSTERS,
        value("voxels", "id", 33, 2048),
        f"{PLANE}{CLUSTER}: pixel id 2048 lies outside of 3 planes",
    ),
    "a cluster's pixel at 2^64 - 2": (
        CLUSTERS,
        value("voxels", "id", 33, 2**64 - 2),
        f"{PLANE}{CLUSTER}: pixel id 18446744073709551614 lies outside",
    ),
    "a cluster with more pixels than there are": (
        CLUSTERS,
        value("cluster_extents", "N", 4, 99),
        f"{PLANE}{CLUSTER}: extents point beyond the .* rows of .*/voxels",
    ),
    "more clusters than there are": (
        CLUSTERS,
        value("projection_extents", "N", 4, 99),
        f"{PLANE}{CLUSTER}: extents point beyond the 6 rows",
    ),
    "clusters of an image of another size": (
        CLUSTERS,
        value("image_meta", "number_of_voxels", 4, (32, 32)),
        f"{PLANE}{CLUSTER}: an image of 32 rows x 32 columns, not 3 planes of 32 rows x 64 columns",
    ),
    "a plane of clusters twice": (CLUSTERS, value("projection_extents", "ID", 4, 0), f", entry 1: {CLUSTER}: planes"),
    "two names for a plane of clusters": (
        CLUSTERS,
        value("image_meta", "projection_id", 4, 0),
        f"{PLANE}{CLUSTER}: image_meta calls it plane 0",
    ),
    "clusters of too few entries": (CLUSTERS, shorter("extents"), f": product {CLUSTER} has 2 entries, but"),
    "particles that are not there": (
        PARTICLES,
        value("extents", "first", 1, 1 << 40),
        f", entry 1: {PARTICLE}: extents point beyond the 7 rows",
    ),
    "a neutrino without energy": (
        PARTICLES,
        value("particles", "energy_init", 3, np.nan),
        f", entry 1: {PARTICLE}: a neutrino of nan GeV",
    ),
    "a neutrino nowhere": (
        PARTICLES,
        value("particles", "vtx", 3, (1.0, np.nan, 2.0, 3.0)),
        rf", entry 1: {PARTICLE}: a neutrino of 0.8 GeV at \(1.0, nan, 2.0",
    ),
    "particles without a current": (
        PARTICLES,
        retyped("particles", current_type=None),
        ": table .*/particles has no column current_type",
    ),
    "particles of too few entries": (PARTICLES, shorter("extents"), f": product {PARTICLE} has 2 entries, but"),
    "particles that are words": (PARTICLES, retyped("particles", pdg="S4"), ": .*/particles: column pdg holds"),
}


def damage(path, kind):
    """Damages a file of truth_file and add_clusters; where it is in the clusters, the file has no boxes."""
    group, change, _ = FAULTS[kind]
    with h5py.File(path, "a") as file:
        if group == CLUSTERS:
            del file[BOXES]
        change(file[group])
