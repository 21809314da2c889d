"""The larcv3 HDF5 layout, as measured on real files.

/Events/event_id                       (run, subrun, event) of each entry
/Data/<kind>_<producer>_group/...      one group a product
    extents                            an entry's rows of the next table: (first, N)
    voxel_extents                      sparse2d: a plane's rows of voxels: (first, N, ID), ID the plane
    voxels                             (id, value), id a flat index into a (wires, ticks) grid: wire * ticks + tick
    image_meta                         one a plane and entry: size of the grid and so on
    particles                          particle product: one row a particle
    bboxes                             bbox2d: one row a box
    images                             tensor1d: one row a number, float32
cluster2d has projection_extents (as voxel_extents, but to the next table) and cluster_extents between, bbox2d has
bbox_extents (as voxel_extents), tensor1d image_extents, where an ID is the tensor's number; see CHAINS.
Tables are chunked and gzip-compressed at level 1.
"""

import numpy as np

EVENT_ID_DTYPE = np.dtype([("run", "<i8"), ("subrun", "<i8"), ("event", "<i8")])
EXTENTS_DTYPE = np.dtype({"names": ["first", "N"], "formats": ["<u8", "<u4"], "offsets": [0, 8], "itemsize": 16})
ID_EXTENTS_DTYPE = np.dtype([("first", "<u8"), ("N", "<u4"), ("ID", "<u4")])
VOXEL_DTYPE = np.dtype({"names": ["id", "value"], "formats": ["<u8", "<f4"], "offsets": [0, 8], "itemsize": 16})
IMAGE_META_DTYPE = np.dtype(
    {
        "names": ["valid", "projection_id", "image_sizes", "number_of_voxels", "origin"],
        "formats": ["u1", "<u8", ("<f8", (2,)), ("<u8", (2,)), ("<f8", (2,))],
        "offsets": [0, 8, 16, 32, 48],
        "itemsize": 72,
    }
)
TENSOR_META_DTYPE = np.dtype(
    {
        "names": ["valid", "projection_id", "image_sizes", "number_of_voxels", "origin"],
        "formats": ["u1", "<u8", ("<f8", (1,)), ("<u8", (1,)), ("<f8", (1,))],
        "offsets": [0, 8, 16, 24, 32],
        "itemsize": 48,
    }
)
# A box in the physical units of image_meta, wire first, then time. `rotation` is not used by larcv3 3.5.1.
BBOX_DTYPE = np.dtype([("centroid", "<f8", (2,)), ("half_length", "<f8", (2,)), ("rotation", "<f8", (4,))])
# What its BBox2D has there where none is given.
NO_ROTATION = (1.0, 0.0, 1.0, 0.0)
_POINT = np.dtype([("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("t", "<f8")])
PARTICLE_DTYPE = np.dtype(
    {
        "names": [
            *("id", "mcst_index", "mct_index", "shape", "current_type", "interaction_type", "trackid", "pdg"),
            *("px", "py", "pz", "vtx", "end_pt", "first_step", "last_step", "dist_travel", "energy_init"),
            *("energy_deposit", "process", "parent_trackid", "parent_pdg", "parent_vtx", "ancestor_trackid"),
            *("ancestor_pdg", "ancestor_vtx"),
        ],
        "formats": [
            *("<u2", "<u2", "<u2", "<i4", "<i2", "<i2", "<u4", "<i4", "<f8", "<f8", "<f8"),
            *(_POINT, _POINT, _POINT, _POINT, "<f8", "<f8", "<f8", "S64", "<u4", "<i4", _POINT, "<u4", "<i4", _POINT),
        ],
        "offsets": [
            *(0, 2, 4, 8, 12, 14, 16, 20, 24, 32, 40, 48, 80, 112, 144, 176, 184, 192, 200, 264, 268, 272),
            *(304, 308, 312),
        ],
        "itemsize": 344,
    }
)

# Rows of a chunk, by table.
CHUNKS = {
    "extents": 10,
    "voxel_extents": 100,
    "bbox_extents": 100,
    "voxels": 1000,
    "image_meta": 100,
    "particles": 500,
    "event_id": 100,
}
OTHER_CHUNK = 1000
GZIP_LEVEL = 1

# The tables of each kind of product, each naming ranges of the next one's rows.
# Source: larcv3 3.5.1, dataformat/Event*.cxx.
_SPARSE = ("extents", "voxel_extents", "voxels")
_CLUSTER = ("extents", "projection_extents", "cluster_extents", "voxels")
_BOXES = ("extents", "bbox_extents", "bboxes")
_IMAGES = ("extents", "image_extents", "images")
CHAINS: dict[str, tuple[str, ...]] = {
    "particle": ("extents", "particles"),
    **dict.fromkeys(("sparse2d", "sparse3d"), _SPARSE),
    **dict.fromkeys(("cluster2d", "cluster3d"), _CLUSTER),
    **dict.fromkeys(("bbox2d", "bbox3d"), _BOXES),
    **dict.fromkeys(("tensor1d", "image2d", "tensor3d", "tensor4d"), _IMAGES),
}


def group_name(kind: str, producer: str) -> str:
    """The HDF5 path of a product: kind is one of CHAINS, such as "sparse2d" or "tensor1d"."""
    return f"/Data/{kind}_{producer}_group"
