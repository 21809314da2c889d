"""Tables of an HDF5 file, read by row range from several threads at once.

HDF5 inflates chunks under one lock for the whole process. Here h5py only opens the file; a table's chunks are found
(chunks.py), read with preadv and inflated (inflate.py) in the calling thread. Tables that are not chunked and
zlib-compressed as the larcv library writes them go through h5py.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from cosmictagger_tf.data.chunks import ChunkIndex, Place, chunk_index
from cosmictagger_tf.data.foreign import why_not_hdf5
from cosmictagger_tf.data.inflate import inflate_chunks
from cosmictagger_tf.errors import DataError, raise_unreadable, read_errors
from cosmictagger_tf.text import counted

_local = threading.local()
# What h5py raises for a broken file, by what is broken: nothing of it is an error of this package.
BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError, NotImplementedError)
CHANGED = "was replaced or written to while this command read it: nothing is made of two files; give the command again"
# What the system reports of a lock that another process holds.
LOCK_HELD = (errno.EAGAIN, errno.EACCES)
# Bytes of inflated chunks that a table keeps: those of the longest one, voxels aside, of 43,000 events.
MOST_KEPT = 16 << 20
# zlib makes nothing shorter than a 1032nd: a table that claims more than this many times the file's size is broken.
MOST_COMPRESSED = 1100


class FileIdentity(NamedTuple):
    """What distinguishes an open file from another of its name, and from itself after it was written to."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, descriptor: int) -> "FileIdentity":
        """Of an open file."""
        stat = os.fstat(descriptor)
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


class Hdf5File:
    """An open HDF5 file. Nothing outside it is read: links and tables that lead to other files are refused.

    Args:
        path: the file.
        same_as: what it was when it was opened before; None = it was not.

    Raises:
        DataError: it is missing, empty, cut short, no HDF5 file, or being written; or it is another one by now.
        ReadError: the system refuses to read it.
    """

    def __init__(self, path: str, same_as: FileIdentity | None = None):
        self.path = path
        self.h5 = open_hdf5(path)
        # HDF5's own: whoever opens the path again may get another file, and a process may have only so many open.
        self.descriptor: int = self.h5.id.get_vfd_handle()
        self.identity = FileIdentity.of(self.descriptor)
        self.size = self.identity.size
        if same_as is not None and self.identity != same_as:
            self.close()
            raise DataError(path, CHANGED)

    def check_unchanged(self):
        """Raises DataError where the open file was written to since it was opened."""
        if FileIdentity.of(self.descriptor) != self.identity:
            raise DataError(self.path, CHANGED)

    def close(self):
        """Closes the file; its tables can no longer be read."""
        self.h5.close()

    def table(self, name: str, columns: dict[str, str]) -> "Table":
        """The one-dimensional table `name`.

        Args:
            name: HDF5 path.
            columns: the columns it must have -> the kinds of number each may be (numpy.dtype.kind); with a "*" there
                are several in a row.

        Raises:
            DataError: there is no such table, or a column is missing or of another kind.
        """
        with self.sound():
            return self._table(name, columns)

    def has(self, name: str) -> bool:
        """Whether there is a group or table `name`; raises DataError where a link is in its place."""
        parent = ""
        for part in name.strip("/").split("/"):
            parent += f"/{part}"
            # Not h5.get, for which what cannot be read is not there.
            links = self.h5.id.links
            if not links.exists(os.fsencode(parent)):
                return False
            if links.get_info(os.fsencode(parent)).type != h5py.h5l.TYPE_HARD:
                raise DataError(self.path, f"{parent} is a link to elsewhere, which is not followed")
        return True

    def members(self, name: str) -> list[str]:
        """The names in a group; none where there is no such group."""
        group = self.h5[name] if self.has(name) else None
        return [str(member) for member in group] if isinstance(group, h5py.Group) else []

    @contextlib.contextmanager
    def sound(self) -> Iterator[None]:
        """Around what h5py does with the file: a broken one raises a DataError, what the system refuses a ReadError."""
        try:
            yield
        except BROKEN as error:
            raise_unreadable(self.path, error)
            reason = (str(error).splitlines() or [type(error).__name__])[0].strip("'\"")
            raise DataError(self.path, f"is broken: {reason}: copy or make it again") from None

    def _table(self, name, columns) -> "Table":
        dataset = self.h5[name] if self.has(name) else None
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(self.path, f"has no table {name}: is it a larcv3 file?")
        if dataset.external or dataset.is_virtual:
            raise DataError(self.path, f"table {name} lies in another file, which is not read")
        if dataset.ndim != 1:
            raise DataError(self.path, f"table {name} has {dataset.ndim} dimensions instead of 1: is it a larcv3 file?")
        if lies_over(dataset.dtype):
            raise DataError(
                self.path, f"table {name}: columns lie over one another as NumPy has them: the file is damaged"
            )
        missing = [number for number in filters(dataset) if not h5py.h5z.filter_avail(number)]
        if missing:
            raise DataError(
                self.path,
                f"table {name} is compressed with {filter_name(dataset, missing[0])}, which is not installed here: "
                "rewrite the file with `h5repack -f GZIP=1` where it was made",
            )
        for column, kinds in columns.items():
            if column not in (dataset.dtype.names or ()):
                raise DataError(self.path, f"table {name} has no column {column}: is it a larcv3 file?")
            kind = dataset.dtype[column]
            if kind.base.kind not in kinds or (kind.shape and "*" not in kinds):
                wanted = "numbers" if "f" in kinds else "whole numbers"
                raise DataError(self.path, f"table {name}: column {column} holds {kind}, not {wanted}")
        table = Table(self, dataset)
        if table.rows and max(table.rows, table.chunk_rows) * table.dtype.itemsize > MOST_COMPRESSED * self.size:
            raise DataError(
                self.path, f"table {name} claims {counted(table.rows, 'row')}, which the file is too small for"
            )
        return table


def lies_over(dtype: np.dtype) -> bool:
    """Whether fields of a type, or of one within it, lie over one another or beyond its end.

    h5py makes such a type of a float that NumPy has not. HDF5 writes beyond its buffers where it converts to it, and
    the process dies.
    """
    dtype = dtype.base
    fields = sorted(((place[1], place[0]) for place in (dtype.fields or {}).values()), key=lambda field: field[0])
    starts = [offset for offset, _ in fields] + [dtype.itemsize]
    ends = [offset + field.itemsize for offset, field in fields]
    return any(end > start for end, start in zip(ends, starts[1:], strict=True)) or any(lies_over(f) for _, f in fields)


@dataclass(frozen=True)
class PackedRows:
    """Compressed chunks of a table, and the rows in them.

    Attributes:
        data: uint8, the chunks one after the other; lies in a buffer that this thread's next read overwrites.
        sizes: bytes of each in `data`.
        length: bytes of each once inflated.
        begin: the first row's place in the first chunk.
    """

    data: np.ndarray
    sizes: list[int]
    length: int
    begin: int


class Table:
    """A one-dimensional table of an open file.

    A chunk that alone holds the rows of a read stays inflated, up to MOST_KEPT bytes of them: most tables are looked up
    a few rows at a time.

    Attributes:
        rows: its length.
        direct: whether its chunks are read past HDF5.
    """

    def __init__(self, file: Hdf5File, dataset: h5py.Dataset):
        self.file, self.dataset, self.name = file, dataset, dataset.name
        self.rows: int = dataset.shape[0]
        self.dtype = dataset.dtype
        self.chunk_rows: int = dataset.chunks[0] if dataset.chunks else 0
        self.direct = bool(self.chunk_rows) and _is_plain_deflate(dataset)
        self.index: ChunkIndex | None = None
        self.kept = lru_cache(max(1, MOST_KEPT // max(1, self._chunk_bytes)))(self._chunk)

    def __len__(self) -> int:
        return self.rows

    def read(self, first: int, count: int) -> np.ndarray:
        """Rows `first` to `first + count`, as the file's structured dtype.

        The result may lie in a buffer that this thread's next read, of whatever table, overwrites, or be read-only.

        Raises:
            ValueError: the rows lie beyond the table, or are broken.
            OSError, ReadError: the system refuses to read them.
        """
        if first < 0 or count < 0 or first + count > self.rows:
            raise ValueError(
                f"rows {first} to {first + count} lie beyond the {counted(self.rows, 'row')} of {self.name}"
            )
        if not count:
            return np.zeros(0, self.dtype)
        if not self.direct:
            try:
                return self.dataset[first : first + count]
            except BROKEN as error:
                raise_unreadable(self.file.path, error)
                raise ValueError(f"{self.name}: {(str(error).splitlines() or ['cannot be read'])[0]}") from None
        chunk, begin = divmod(first, self.chunk_rows)
        if begin + count <= self.chunk_rows:
            return self.kept(chunk)[begin : begin + count]
        return self._chunks(first, count)[begin : begin + count]

    def packed(self, first: int, count: int) -> PackedRows:
        """The compressed chunks that hold the rows `first` to `first + count`, of which there is at least one.

        Raises:
            ValueError: chunks of this table are not read past HDF5, are stored uncompressed, or cannot be read.
        """
        if self.direct and 0 <= first < first + count <= self.rows:
            places = self._places(first, count)
            if not any(place.mask for place in places):
                sizes = [place.size for place in places]
                return PackedRows(self._read_packed(places), sizes, self._chunk_bytes, first % self.chunk_rows)
        raise ValueError(f"{self.name} is not compressed as the larcv library compresses")

    @property
    def _chunk_bytes(self) -> int:
        return self.chunk_rows * self.dtype.itemsize

    def _places(self, first, count) -> list[Place]:
        return self._index().find(first // self.chunk_rows, (first + count - 1) // self.chunk_rows + 1)

    def _chunk(self, number) -> np.ndarray:
        # All rows of a chunk; copied as bytes, since numpy leaves out those between the columns of structured arrays.
        rows = self._chunks(number * self.chunk_rows, 1).view(np.uint8).copy().view(self.dtype)
        rows.setflags(write=False)
        return rows

    def _chunks(self, first, count) -> np.ndarray:
        # All rows of the chunks that hold `count` rows from `first` on.
        length = self._chunk_bytes
        try:
            places = self._places(first, count)
            packed = self._read_packed(places)
            out = scratch("inflated", len(places) * length).reshape(len(places), length)
            if any(place.mask for place in places):
                _unpack_mixed(packed, places, out)
            else:
                inflate_chunks(packed, [place.size for place in places], out)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        return out.reshape(-1).view(self.dtype)

    def _index(self) -> ChunkIndex:
        # Made when it is first needed: many tables are opened for their length alone. Two threads may both make it.
        if self.index is None:
            self.index = chunk_index(self.file.descriptor, self.dataset)
        return self.index

    def _read_packed(self, places) -> np.ndarray:
        # uint8, the chunks as they are in the file, one after the other. Neighbouring ones are read at once.
        # zlib makes incompressible data longer by less than 1 part in 1000.
        most, end = self._chunk_bytes + self._chunk_bytes // 8 + 64, self.file.size
        runs: list[list[int]] = []
        after = -1
        for offset, size, _ in places:
            if size > most or offset + size > end:
                raise ValueError("a part of it lies beyond the end of the file: it is cut short")
            if offset == after:
                runs[-1][1] += size
            else:
                runs.append([offset, size])
            after = offset + size
        packed, position = scratch("packed", sum(size for _, size in runs)), 0
        for offset, size in runs:
            if os.preadv(self.file.descriptor, [packed[position : position + size].data], offset) != size:
                raise ValueError("the file ends within it: it is cut short")
            position += size
        return packed


def _unpack_mixed(packed, places, out):
    # HDF5 stores a chunk as it is, and marks it in its mask, where compressing would make it longer.
    start = 0
    for row, place in zip(out, places, strict=True):
        stored = packed[start : start + place.size]
        start += place.size
        if not place.mask:
            inflate_chunks(stored, [place.size], row[None])
        elif place.size == len(row):
            row[:] = stored
        else:
            raise ValueError(f"a stored chunk has {counted(place.size, 'byte')} instead of {len(row)}")


def filters(dataset: h5py.Dataset) -> list[int]:
    """The numbers of the HDF5 filters that a table's chunks go through, in order."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def filter_name(dataset: h5py.Dataset, number: int) -> str:
    """One of them, as the file calls it."""
    *_, name = dataset.id.get_create_plist().get_filter_by_id(number)
    return f"the HDF5 filter {number}" + (f" ({name.decode(errors='replace')})" if name else "")


def _is_plain_deflate(dataset) -> bool:
    # Where the file's own layout is not numpy's, h5py converts.
    same = dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype, logical=True)
    return same and filters(dataset) == [h5py.h5z.FILTER_DEFLATE]


def scratch(name: str, size: int) -> np.ndarray:
    """uint8 [size]: a buffer of this thread and name, which the thread's next call of that name overwrites.

    Fresh memory costs as much as a fifth of the inflating.
    """
    buffer = getattr(_local, name, None)
    if buffer is None or len(buffer) < size:
        buffer = np.empty(max(size, 1 << 16), np.uint8)
        setattr(_local, name, buffer)
    return buffer[:size]


def open_hdf5(path: str) -> h5py.File:
    """The open file.

    Raises:
        DataError: it is missing, empty, cut short, no HDF5 file, or being written.
        ReadError: the system refuses to read it.
    """
    with read_errors(path):
        if not Path(path).is_file():
            raise DataError(path, "no such file" if not Path(path).exists() else "is no file")
        if not Path(path).stat().st_size:
            raise DataError(path, "is empty: copy or make it again")
    try:
        return open_for_reading(path)
    except PermissionError:
        raise DataError(path, "may not be read: its permissions forbid it") from None
    except OSError as error:
        text = str(error).replace(str(path), "").lower()
        if "too many open files" in text:
            raise DataError(path, "is one file too many to have open: raise the limit (ulimit -n)") from None
        if "truncated" in text or "eof" in text:
            raise DataError(path, "is cut short (a copy that did not finish?): copy or make it again") from None
        if "unable to lock" in text or "already open" in text or "consistency" in text:
            reason = "is being written by another program, or was not closed: wait, or make it again"
            raise DataError(path, reason) from None
        raise_unreadable(path, error)
        raise DataError(path, why_not_hdf5(path)) from None


def open_for_reading(path) -> h5py.File:
    """h5py.File(path), also where the file system has no locks; raises what h5py raises."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "lock" not in str(error).replace(str(path), "") or error.errno in LOCK_HELD:
            raise
        return h5py.File(path, "r", locking=False)
