"""Writes larcv3 files that the larcv library opens."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.hdf5_target import Hdf5Target
from cosmictagger_tf.data.larcv_format import (
    BBOX_DTYPE,
    CHUNKS,
    EVENT_ID_DTYPE,
    EXTENTS_DTYPE,
    GZIP_LEVEL,
    ID_EXTENTS_DTYPE,
    IMAGE_META_DTYPE,
    OTHER_CHUNK,
    PARTICLE_DTYPE,
    TENSOR_META_DTYPE,
    VOXEL_DTYPE,
    group_name,
)
from cosmictagger_tf.data.product_tables import RawProduct, TableRows
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import write_errors
from cosmictagger_tf.files import replaced_file, tidy


class LarcvWriter:
    """A larcv3 file, written event by event: `with LarcvWriter(path, shape) as writer: writer.write(...)`.

    The file appears under its name when the block ends without an error; until then it is written beside it. What a
    killed writer of the same file left is removed. Memory does not grow with the file.

    Args:
        path: the file.
        shape: of every image.
    """

    def __init__(self, path: Path | str, shape: ImageShape):
        self.path, self.shape = Path(path), shape
        self.entries = 0
        self.tables: dict[str, _Table] = {}
        self.products: set[str] | None = None

    def __enter__(self) -> "LarcvWriter":
        with write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        tidy(self.path.parent, (self.path.name,), shared=True)
        with contextlib.ExitStack() as held:
            beside = held.enter_context(replaced_file(self.path))
            self.target = held.enter_context(contextlib.closing(Hdf5Target(beside)))
            self.file = held.enter_context(h5py.File(self.target, "w", libver="earliest"))
            held.callback(self.tables.clear)
            self.file.create_group("Data")
            self._held = held.pop_all()
        return self

    def __exit__(self, kind, error, trace):
        return self._held.__exit__(kind, error, trace)

    def write(
        self,
        event_id: tuple[int, int, int],
        sparse2d: Mapping[str, tuple[PlanePixels, ...]],
        particles: Mapping[str, np.ndarray] | None = None,
        copied: Mapping[str, RawProduct] | None = None,
        metas: Mapping[str, np.ndarray | None] | None = None,
        bbox2d: Mapping[str, Sequence[np.ndarray]] | None = None,
        tensor1d: Mapping[str, Sequence[np.ndarray]] | None = None,
    ):
        """Appends an event, which must have the same products as the events before it.

        Args:
            event_id: (run, subrun, event).
            sparse2d: producer -> one PlanePixels a plane.
            particles: producer -> structured array of PARTICLE_DTYPE.
            copied: name -> a product of another file, as larcv_products.Products reads it; is written unchanged but
                for the numbers of the rows that it names.
            metas: producer of sparse2d or bbox2d -> rows of an image_meta table, one a plane, of which the columns that
                it has are taken; None or missing: pixels of size 1 from the origin.
            bbox2d: producer -> boxes of each plane, BBOX_DTYPE [n], in the units of image_meta (see vertices.boxes_at).
            tensor1d: producer -> arrays [n], which are stored as float32 and numbered from 0.

        Raises:
            ValueError: a product is missing, new, or given twice, or has more or fewer rows of image_meta than planes.
            OSError: the system refuses to write; the block that wrote must end.
        """
        kinds: dict[str, Mapping] = {"sparse2d": sparse2d, "particle": particles or {}}
        kinds |= {"bbox2d": bbox2d or {}, "tensor1d": tensor1d or {}}
        copied, metas = copied or {}, metas or {}
        self._check_products([*(f"{kind}_{name}" for kind, made in kinds.items() for name in made), *copied])
        self._append("/Events/event_id", np.array([event_id], EVENT_ID_DTYPE))
        for producer, planes in sparse2d.items():
            self._write_sparse2d(group_name("sparse2d", producer), planes, metas.get(producer))
        for producer, boxes in kinds["bbox2d"].items():
            rows = [_clean(plane, BBOX_DTYPE) for plane in boxes]
            group, tables = group_name("bbox2d", producer), ("bbox_extents", "bboxes")
            self._write_planes(group, tables, rows, image_metas(len(rows), self.shape, metas.get(producer)))
        for producer, tensors in kinds["tensor1d"].items():
            self._write_tensor1d(group_name("tensor1d", producer), tensors)
        for producer, rows in kinds["particle"].items():
            group = group_name("particle", producer)
            first = self._append(f"{group}/particles", _clean(rows, PARTICLE_DTYPE))
            self._append(f"{group}/extents", _clean(np.array([(first, len(rows))], EXTENTS_DTYPE), EXTENTS_DTYPE))
        for name, product in copied.items():
            self._write_copy(f"/Data/{name}_group", product)
        self.target.check()
        self.entries += 1

    def _check_products(self, names):
        if len(set(names)) != len(names):
            raise ValueError(f"a product is given twice: {sorted(n for n in names if names.count(n) > 1)[0]}")
        if self.products is None:
            self.products = set(names)
        if self.products != set(names):
            raise ValueError(f"not every event has the products {', '.join(sorted(self.products ^ set(names)))}")

    def _write_sparse2d(self, group, planes, meta):
        rows = []
        for pixels in planes:
            ids = pixels.columns.astype(np.uint64) * np.uint64(self.shape.height) + pixels.rows.astype(np.uint64)
            order = np.argsort(ids, kind="stable")
            voxels = np.zeros(len(ids), VOXEL_DTYPE)
            voxels["id"], voxels["value"] = ids[order], pixels.values[order]
            rows.append(voxels)
        self._write_planes(group, ("voxel_extents", "voxels"), rows, image_metas(len(rows), self.shape, meta))

    def _write_tensor1d(self, group, tensors):
        rows = [np.asarray(tensor, np.float32) for tensor in tensors]
        metas = [(1, number, (len(row),), (len(row),), (0.0,)) for number, row in enumerate(rows)]
        self._write_planes(group, ("image_extents", "images"), rows, np.array(metas, TENSOR_META_DTYPE))

    def _write_planes(self, group, tables, planes, metas):
        # The rows of each plane, the ranges of them, and what images they belong to.
        plane_extents, data = tables
        extents = np.zeros(len(planes), ID_EXTENTS_DTYPE)
        for plane, rows in enumerate(planes):
            first = self._append(f"{group}/{data}", rows)
            extents[plane] = (first, len(rows), plane)
        first = self._append(f"{group}/{plane_extents}", extents)
        self._append(f"{group}/extents", _clean(np.array([(first, len(planes))], EXTENTS_DTYPE), EXTENTS_DTYPE))
        self._append(f"{group}/image_meta", _clean(metas, metas.dtype))

    def _write_copy(self, group, product):
        # From the data upwards, since each table names the rows of the next.
        after: int | None = None
        for name, table in reversed(product.chain.items()):
            rows = table.rows
            if after is not None:
                rows = np.frombuffer(bytearray(rows.tobytes()), rows.dtype)
                if rows.dtype["first"].itemsize < EXTENTS_DTYPE["first"].itemsize:
                    # The joined table may have more rows than its type can count.
                    rows, table = rows.astype(_with_wide_first(rows.dtype)), None
                counts = rows["N"].astype(np.int64)
                rows["first"] = after + np.cumsum(counts) - counts
            after = self._append(f"{group}/{name}", rows, table)
        for name, table in product.beside.items():
            self._append(f"{group}/{name}", table.rows, table)

    def _append(self, name, rows, source: TableRows | None = None) -> int:
        # Returns the row number of the first appended row.
        table = self.tables.get(name)
        if table is None:
            table = self.tables[name] = _Table(self.file, name, rows.dtype, source)
        return table.append(rows)


def image_metas(planes: int, shape: ImageShape, given: np.ndarray | None = None) -> np.ndarray:
    """The rows of image_meta of an event's planes, IMAGE_META_DTYPE [planes].

    Args:
        planes: that the event has.
        shape: of its images.
        given: rows of such a table, one a plane, of which the columns that it has are taken; for the others, and where
            it is None: pixels of size 1 from the origin.

    Raises:
        ValueError: there are not as many rows as planes.
    """
    size = (shape.width, shape.height)
    metas = np.array([(1, plane, size, size, (0.0, 0.0)) for plane in range(planes)], IMAGE_META_DTYPE)
    if given is not None:
        if len(given) != planes:
            raise ValueError(f"{len(given)} rows of image_meta for {planes} planes")
        # The larcv library closes a file at a row that is not valid: what is written here is.
        for name in {"projection_id", "image_sizes", "number_of_voxels", "origin"} & set(given.dtype.names or ()):
            metas[name] = given[name]
    return metas


class _Table:
    """A growing table of the file, in the layout of the larcv library or of the table that it is a copy of."""

    def __init__(self, file: h5py.File, name: str, dtype: np.dtype, source: TableRows | None):
        own = source.like if source else None
        self.type = own.id.get_type() if own else h5py.h5t.py_create(dtype, logical=True)
        # Bytes between the columns are written as they are, too, where memory and file have the same layout.
        self.raw = own is None or self.type.get_size() == dtype.itemsize
        chunk = own.chunks[0] if own and own.chunks else CHUNKS.get(name.rsplit("/", 1)[1], OTHER_CHUNK)
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((chunk,))
        creation.set_deflate(GZIP_LEVEL)
        # The same events make the same file, whenever it is written.
        creation.set_obj_track_times(False)
        space = h5py.h5s.create_simple((0,), (h5py.h5s.UNLIMITED,))
        links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        links.set_create_intermediate_group(True)
        self.id = h5py.h5d.create(file.id, name.encode("utf-8", "surrogateescape"), self.type, space, creation, links)
        self.rows = 0

    def append(self, rows: np.ndarray) -> int:
        """Adds rows at the end of the table; returns the number of the first of them."""
        first = self.rows
        if len(rows):
            self.rows += len(rows)
            self.id.set_extent((self.rows,))
            file_space = self.id.get_space()
            file_space.select_hyperslab((first,), (len(rows),))
            memory_space = h5py.h5s.create_simple((len(rows),))
            self.id.write(memory_space, file_space, np.ascontiguousarray(rows), self.type if self.raw else None)
        return first


def _with_wide_first(dtype) -> np.dtype:
    return np.dtype([(name, EXTENTS_DTYPE["first"] if name == "first" else dtype[name]) for name in dtype.names or ()])


def _clean(rows, dtype) -> np.ndarray:
    # Column by column into zeros: the bytes between the columns would otherwise be whatever memory held, and the same
    # events would not make the same file.
    clean = np.zeros(len(rows), dtype)
    for name in dtype.names:
        clean[name] = rows[name]
    return clean
