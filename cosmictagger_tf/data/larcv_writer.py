"""Writes larcv3 files that the larcv library opens."""

from pathlib import Path

import h5py
import numpy as np

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.larcv_format import (
    CHUNKS,
    EVENT_ID_DTYPE,
    EXTENTS_DTYPE,
    GZIP_LEVEL,
    ID_EXTENTS_DTYPE,
    IMAGE_META_DTYPE,
    PARTICLE_DTYPE,
    VOXEL_DTYPE,
    group_name,
)
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.files import replaced_file


class LarcvWriter:
    """A larcv3 file, written event by event: `with LarcvWriter(path, shape) as writer: writer.write(...)`.

    The file appears under its name when the block ends without an error; until then it is written beside it.

    Args:
        path: the file.
        shape: of every image.
    """

    def __init__(self, path: Path | str, shape: ImageShape):
        self.path, self.shape = Path(path), shape
        self.entries = 0

    def __enter__(self) -> "LarcvWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._replacing = replaced_file(self.path)
        self.file = h5py.File(self._replacing.__enter__(), "w", libver="earliest")
        self.file.create_group("Data")
        return self

    def __exit__(self, kind, error, trace):
        self.file.close()
        return self._replacing.__exit__(kind, error, trace)

    def write(
        self,
        event_id: tuple[int, int, int],
        sparse2d: dict[str, tuple[PlanePixels, ...]],
        particles: dict[str, np.ndarray] | None = None,
    ):
        """Appends an event.

        Args:
            event_id: (run, subrun, event).
            sparse2d: producer -> one PlanePixels a plane; the same producers for every event.
            particles: producer -> structured array of PARTICLE_DTYPE.
        """
        self._append("/Events/event_id", EVENT_ID_DTYPE, np.array([event_id], EVENT_ID_DTYPE))
        for producer, planes in sparse2d.items():
            self._write_sparse2d(group_name("sparse2d", producer), planes)
        for producer, rows in (particles or {}).items():
            group = group_name("particle", producer)
            first = self._append(f"{group}/particles", PARTICLE_DTYPE, rows)
            self._append(f"{group}/extents", EXTENTS_DTYPE, np.array([(first, len(rows))], EXTENTS_DTYPE))
        self.entries += 1

    def _write_sparse2d(self, group, planes):
        extents = np.zeros(len(planes), ID_EXTENTS_DTYPE)
        metas = np.zeros(len(planes), IMAGE_META_DTYPE)
        for plane, pixels in enumerate(planes):
            ids = pixels.columns.astype(np.uint64) * np.uint64(self.shape.height) + pixels.rows.astype(np.uint64)
            order = np.argsort(ids, kind="stable")
            voxels = np.zeros(len(ids), VOXEL_DTYPE)
            voxels["id"], voxels["value"] = ids[order], pixels.values[order]
            first = self._append(f"{group}/voxels", VOXEL_DTYPE, voxels)
            extents[plane] = (first, len(voxels), plane)
            size = (self.shape.width, self.shape.height)
            metas[plane] = (1, plane, size, size, (0.0, 0.0))
        first = self._append(f"{group}/voxel_extents", ID_EXTENTS_DTYPE, extents)
        self._append(f"{group}/extents", EXTENTS_DTYPE, np.array([(first, len(planes))], EXTENTS_DTYPE))
        self._append(f"{group}/image_meta", IMAGE_META_DTYPE, metas)

    def _append(self, name, dtype, rows) -> int:
        # Returns the row number of the first appended row.
        if name not in self.file:
            chunk = CHUNKS["event_id" if name == "/Events/event_id" else name.rsplit("/", 1)[1]]
            self.file.create_dataset(
                name, (0,), dtype, maxshape=(None,), chunks=(chunk,), compression="gzip", compression_opts=GZIP_LEVEL
            )
        dataset = self.file[name]
        first = dataset.shape[0]
        if len(rows):
            dataset.resize(first + len(rows), axis=0)
            # Field by field into zeros: the bytes between the fields would otherwise be whatever memory held, and
            # the same events would not make the same file.
            clean = np.zeros(len(rows), dtype)
            for field in dtype.names:
                clean[field] = rows[field]
            dataset[first:] = clean
        return first
