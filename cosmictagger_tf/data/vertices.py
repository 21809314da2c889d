"""Vertices of neutrino interactions in the images: read from boxes or clusters, projected, and written as boxes.

A vertex is a (row, column) in pixels, as real numbers whose whole parts are the pixel. The first vertices of all planes
are one interaction's, and so on.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cosmictagger_tf import geometry
from cosmictagger_tf.data.larcv_format import BBOX_DTYPE, NO_ROTATION
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.product_tables import ProductTables, RawProduct, kind_of
from cosmictagger_tf.data.tables import Hdf5File
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import DataError

# A cluster around a vertex has so many rows and columns, less what the image's edge cuts off.
CLUSTER_SIDE = 3


class VertexProduct:
    """The vertices in a product of an open file: the centres of a bbox2d's boxes, or of a cluster2d's clusters.

    Args:
        file: open.
        name: "bbox2d_..." or "cluster2d_...".
        entries: of the file.
        shape: of its images.

    Raises:
        DataError: a table or column is missing, or the product has not as many entries as the file.
    """

    def __init__(self, file: Hdf5File, name: str, entries: int, shape: ImageShape):
        columns, self.centres = _KINDS[kind_of(name)]
        # ProductTables has it where it is there; here it must be.
        file.table(f"/Data/{name}_group/image_meta", columns["image_meta"])
        self.tables, self.shape = ProductTables(file, name, entries, columns), shape
        for table in self.tables.tables:
            for column, kinds in columns.get(table.name.rsplit("/", 1)[1], {}).items():
                if table.dtype[column].shape != ((2,) if "*" in kinds else ()):
                    raise DataError(file.path, f"{table.name}: column {column} holds {table.dtype[column]}")

    def read(self, entry: int) -> np.ndarray | None:
        """Those of an entry.

        Returns:
            float64 [interactions, planes, 2], NaN outside the images; None where there are several, but not as many on
            each plane: which belong together is not known.

        Raises:
            DataError: the entry is broken.
        """
        product = self.tables.read(entry)
        _, planes, *_ = product.chain.values()
        ids = planes.rows["ID"].tolist()
        if sorted(set(ids)) != sorted(ids) or not set(ids) <= set(range(self.shape.planes)):
            raise self._error(f"planes {ids} instead of 0 to {self.shape.planes - 1}", entry)
        self._check_names(ids, product, entry)
        centres: dict[int, np.ndarray] = {}
        try:
            for plane, places in zip(ids, self.centres(product, self.shape), strict=True):
                centres[plane] = places
        except ValueError as error:
            raise self._error(str(error), entry, ids[len(centres)]) from None
        most = max((len(places) for places in centres.values()), default=0)
        vertices = np.full((most, self.shape.planes, 2), np.nan)
        for plane in range(self.shape.planes):
            places = centres.get(plane, ())
            if most > 1 and len(places) < most:
                return None
            vertices[: len(places), plane] = np.reshape(places, (-1, 2))
        return _within(vertices, self.shape)

    def _check_names(self, ids, product: RawProduct, entry):
        # Where a plane has nothing on it, image_meta may be as it was made.
        _, planes, *_ = product.chain.values()
        metas = product.beside["image_meta"].rows
        names = metas["projection_id"].tolist() if "projection_id" in metas.dtype.names else ids
        for plane, name, count in zip(ids, names, planes.rows["N"].tolist(), strict=True):
            if count and name != plane:
                raise self._error(f"image_meta calls it plane {name}", entry, plane)

    def _error(self, reason, entry, plane=None) -> DataError:
        return DataError(self.tables.path, f"{self.tables.name}: {reason}", entry, plane)


def _within(vertices, shape) -> np.ndarray:
    # NaN where they lie outside of images of this shape.
    inside = ((vertices >= 0) & (vertices < (shape.height, shape.width))).all(axis=-1, keepdims=True)
    return np.where(inside, vertices, np.nan)


def _box_centres(product: RawProduct, shape: ImageShape):
    # (row, column) of each box, plane by plane.
    (_, planes, boxes), metas = product.chain.values(), product.beside["image_meta"].rows
    for meta, part in zip(metas, _parts(planes.rows), strict=True):
        sizes, origin, centres = meta["image_sizes"], meta["origin"], boxes.rows["centroid"][part]
        if len(centres) and not ((sizes > 0) & np.isfinite(sizes) & np.isfinite(origin)).all():
            raise ValueError(f"an image of size {sizes.tolist()} that begins at {origin.tolist()}")
        wrong = ~np.isfinite(centres).all(axis=1)
        if wrong.any():
            raise ValueError(f"a box at {centres[wrong][0].tolist()}")
        # Wire first, then time. What lies too far away for a number lies outside.
        with np.errstate(over="ignore"):
            yield ((centres - origin) / sizes * (shape.width, shape.height))[:, ::-1]


def _cluster_centres(product: RawProduct, shape: ImageShape):
    # (row, column) of the middle of each cluster, plane by plane; NaN for one without pixels, which lies outside.
    _, planes, clusters, voxels = product.chain.values()
    sizes, of_cluster = product.beside["image_meta"].rows["number_of_voxels"], _parts(clusters.rows)
    for (width, height), part in zip(sizes.tolist(), _parts(planes.rows), strict=True):
        if part.stop > part.start and (width, height) != (shape.width, shape.height):
            raise ValueError(f"an image of {height} rows x {width} columns, not {shape}")
        pixels = [voxels.rows["id"][rows] for rows in of_cluster[part]]
        yield np.array([_middle(ids, shape) if len(ids) else (np.nan, np.nan) for ids in pixels])


def _middle(ids, shape) -> tuple[float, float]:
    # (row, column) of the middle of a cluster of at least one pixel.
    outside = (ids < 0) | (ids >= shape.pixels)
    if outside.any():
        raise ValueError(f"pixel id {ids[outside][0]} lies outside of {shape}")
    ids = ids.astype(np.int64)
    places, sizes = (ids % shape.height, ids // shape.height), (shape.height, shape.width)
    middles = [_middle_of_three(axis, size) for axis, size in zip(places, sizes, strict=True)]
    whole = [middle for middle in middles if middle is not None]
    row, column = whole if len(whole) == len(places) else [float(np.mean(axis)) for axis in places]
    return row + 0.5, column + 0.5


def _middle_of_three(axis, size) -> float | None:
    # Of a cluster's rows or columns: the second of the three that it has, or had before the image's edge cut it off,
    # and then maybe outside. None where it never had three.
    first, last = int(axis.min()), int(axis.max())
    if last - first == CLUSTER_SIDE - 1 or (first == 0 and last < CLUSTER_SIDE):
        return last - CLUSTER_SIDE // 2
    return first + CLUSTER_SIDE // 2 if last == size - 1 and last - first < CLUSTER_SIDE else None


def _parts(rows) -> list[slice]:
    # Where in the next table's rows, as they were read, those of each of these are.
    return [slice(first, end) for first, end in pairwise(np.cumsum([0, *rows["N"].astype(np.int64)]))]


_KINDS = {
    "bbox2d": (
        {
            "bbox_extents": {"ID": "iu"},
            "bboxes": {"centroid": "f*"},
            "image_meta": {"image_sizes": "f*", "origin": "f*"},
        },
        _box_centres,
    ),
    "cluster2d": (
        {"projection_extents": {"ID": "iu"}, "voxels": {"id": "iu"}, "image_meta": {"number_of_voxels": "iu*"}},
        _cluster_centres,
    ),
}


def projected(neutrinos: Sequence[Neutrino], shape: ImageShape) -> np.ndarray | None:
    """The vertices of interactions in images of SBND's shape, where their charge arrives (see geometry.project).

    Returns:
        float64 [interactions, planes, 2], NaN for vertices outside the active volume; None where there are neutrinos,
        but no vertices of them, or images of another shape.
    """
    points = [neutrino.vertex for neutrino in neutrinos if neutrino.vertex is not None]
    if len(points) < len(neutrinos) or (points and geometry.unknown(shape)):
        return None
    vertices = np.full((len(points), shape.planes, 2), np.nan)
    for places, (*point, time) in zip(vertices, points, strict=True):
        if geometry.inside(np.array(point)):
            places[:] = geometry.project(np.array(point), time)
    return vertices


def boxes_at(places: np.ndarray, shape: ImageShape, meta: np.void | None = None) -> np.ndarray:
    """Boxes of one pixel around places of a plane: what a bbox2d product has of it.

    Args:
        places: float [n, 2], (row, column) in pixels; none is made where it is NaN.
        shape: of the image.
        meta: its row of image_meta; None: pixels of size 1 from the origin.

    Returns:
        [n], BBOX_DTYPE.
    """
    places = places[np.isfinite(places).all(axis=-1)][:, ::-1]
    pixels = np.array((shape.width, shape.height), float)
    sizes, origin = (pixels, 0.0) if meta is None else (meta["image_sizes"], meta["origin"])
    boxes = np.zeros(len(places), BBOX_DTYPE)
    boxes["centroid"] = origin + places * sizes / pixels
    boxes["half_length"], boxes["rotation"] = 0.5 * sizes / pixels, NO_ROTATION
    return boxes
