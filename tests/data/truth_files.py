"""Small larcv3 files with the truth of whole readouts."""

import h5py
import numpy as np

from cosmictagger_tf.data.larcv_format import (
    EXTENTS_DTYPE,
    ID_EXTENTS_DTYPE,
    IMAGE_META_DTYPE,
    PARTICLE_DTYPE,
    VOXEL_DTYPE,
)
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.data.vertices import boxes_at
from tests.data.sound_files import SHAPE, sound_planes

PARTICLES, BOXES = "/Data/particle_sbndneutrino_group", "/Data/bbox2d_bbox_neutrino_group"
CLUSTERS = "/Data/cluster2d_sbndneutrino_group"
# Wires in cm from -9.6 on, time from -18.1 on, as in SBND's second set.
CM = np.array([(1, plane, (19.2, 10.0), (64, 32), (-9.6, -18.1)) for plane in range(3)], IMAGE_META_DTYPE)


def particle_rows(*particles, vertex=(10.0, 20.0, 30.0, 5000.0)):
    """Rows of (pdg, current, energy); the vertex in cm and ns."""
    rows = np.zeros(len(particles), PARTICLE_DTYPE)
    rows["interaction_type"], rows["process"] = -1, b"primary"
    for row, (pdg, current, energy) in zip(rows, particles, strict=True):
        row["pdg"], row["current_type"], row["energy_init"], row["vtx"] = pdg, current, energy, vertex
    return rows


# Muon neutrino, charged current; electron neutrino, neutral current, with a pion; cosmic rays only.
ENTRIES = (
    particle_rows((14, 0, 1.5), (13, -1, 0.9), (2212, -1, 1.0)),
    particle_rows((-12, 1, 0.8), (-12, -1, 0.5), (2112, -1, 1.0), (111, -1, 0.2)),
    particle_rows(),
)
# (row, column) by plane, in pixels: outside the image on the last plane of the second.
VERTICES = (
    np.array([[[3.5, 4.25], [3.5, 60.5], [3.75, 30.5]]]),
    np.array([[[31.5, 0.5], [30.5, 63.5], [31.5, 64.5]]]),
    np.zeros((0, 3, 2)),
)


def truth_file(path, particles=ENTRIES, vertices=VERTICES, metas=CM, shape=SHAPE):
    """A file with both products, or, where they are None, without."""
    rng = np.random.default_rng(5)
    with LarcvWriter(path, shape) as writer:
        for entry in range(len(ENTRIES)):
            image, label = sound_planes(rng, shape)
            boxes = vertices and [boxes_at(vertices[entry][:, p], shape, metas[p]) for p in range(3)]
            writer.write(
                (1, 2, entry),
                {"sbndwire": image, "sbnd_cosmicseg": label},
                particles={"sbndneutrino": particles[entry]} if particles else None,
                bbox2d={"bbox_neutrino": boxes} if vertices else None,
                metas={"bbox_neutrino": metas},
            )
    return path


def add_clusters(path, shape=SHAPE):
    """Adds clusters of 3 x 3 pixels, cut off at the image's edges, around the pixels of VERTICES."""
    voxels, clusters, planes, extents = [], [], [], []
    for vertices in VERTICES:
        extents.append((len(planes), 3))
        for plane in range(3):
            planes.append((len(clusters), len(vertices), plane))
            for row, column in np.floor(vertices[:, plane]).astype(int):
                first = len(voxels)
                for c in range(column - 1, column + 2):
                    for r in range(row - 1, row + 2):
                        if 0 <= r < shape.height and 0 <= c < shape.width:
                            voxels.append((c * shape.height + r, 1.0))
                clusters.append((first, len(voxels) - first, 0))
    metas = [(1, p, (shape.width, shape.height), (shape.width, shape.height), (0, 0)) for p in range(3)] * 3
    with h5py.File(path, "a") as file:
        for name, rows, dtype in (
            ("extents", extents, EXTENTS_DTYPE),
            ("projection_extents", planes, ID_EXTENTS_DTYPE),
            ("cluster_extents", clusters, ID_EXTENTS_DTYPE),
            ("voxels", voxels, VOXEL_DTYPE),
            ("image_meta", metas, IMAGE_META_DTYPE),
        ):
            file.create_dataset(f"{CLUSTERS}/{name}", data=np.array(rows, dtype), chunks=(100,), maxshape=(None,))
    return path
