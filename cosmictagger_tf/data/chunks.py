"""Where the chunks of a one-dimensional HDF5 table lie in the file.

The larcv library writes tables whose chunks are found through a version 1 B-tree, and a file of 43,000 events has
millions of them. HDF5 answers for one chunk at a time and under its lock (3 to 6 microseconds each, a fifth of the
time of reading an event); this module reads a node of the tree at once, which gives up to 64 chunks. Other kinds
of index are read through h5py.

Source: HDF5 File Format Specification 3.0, III.A.1 (version 1 B-trees), IV.A.1.a (version 1 object headers),
IV.A.2.i (data layout message).
"""

import os
import struct
from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import NamedTuple, Protocol

import h5py
import numpy as np

from cosmictagger_tf.errors import raise_unreadable

_NODE_HEADER = struct.Struct("<4sBBHQQ")
_NODE_ENTRY = np.dtype([("size", "<u4"), ("mask", "<u4"), ("row", "<u8"), ("offset", "<u8"), ("address", "<u8")])
# Of a file whose creator left HDF5's setting as it is; others are read in a second go.
_USUAL_ENTRIES = 64
_CHUNK_NODE = 1
_LAYOUT, _CONTINUATION = 0x0008, 0x0010
_CHUNKED = 2


class Place(NamedTuple):
    """A chunk in the file: where it begins, its bytes there, and 0 where all filters were applied to it."""

    offset: int
    size: int
    mask: int


class ChunkIndex(Protocol):
    """Finds chunks; from several threads."""

    def find(self, begin: int, end: int) -> list[Place]:
        """Chunks number `begin` to `end`, without `end`; raises ValueError where one was never written."""


def chunk_index(descriptor: int, dataset: h5py.Dataset) -> ChunkIndex:
    """The quickest index that this table allows.

    Args:
        descriptor: of the open file.
        dataset: one-dimensional and chunked.
    """
    slow = LibraryIndex(dataset)
    chunks = -(-dataset.shape[0] // dataset.chunks[0])
    try:
        quick = TreeIndex(descriptor, _tree_address(descriptor, dataset), dataset.chunks[0])
        probes = {0, chunks // 2, chunks - 1} if chunks else ()
        return quick if all(quick.find(i, i + 1) == slow.find(i, i + 1) for i in probes) else slow
    except (ValueError, RuntimeError, OSError, struct.error):
        return slow


class LibraryIndex:
    """Asks HDF5, chunk by chunk."""

    def __init__(self, dataset: h5py.Dataset):
        self.dataset, self.chunk_rows = dataset, dataset.chunks[0]

    def find(self, begin: int, end: int) -> list[Place]:
        try:
            chunks = [self.dataset.id.get_chunk_info_by_coord((i * self.chunk_rows,)) for i in range(begin, end)]
        except (OSError, RuntimeError) as error:
            raise_unreadable(self.dataset.file.filename, error)
            raise ValueError(str(error).splitlines()[0]) from None
        if any(place.byte_offset is None for place in chunks):
            raise ValueError("a part of the table was never written")
        return [Place(place.byte_offset, place.size, place.filter_mask) for place in chunks]


class _Node(NamedTuple):
    # Level 0 leads to the chunks themselves. An entry names the first row of what it leads to.
    level: int
    rows: list[int]
    places: list[Place]


class TreeIndex:
    """Walks the version 1 B-tree; the nodes that were read last are kept.

    Args:
        descriptor: of the open file.
        root: where the tree's root lies.
        chunk_rows: rows of a chunk.
    """

    def __init__(self, descriptor: int, root: int, chunk_rows: int):
        self.descriptor, self.root, self.chunk_rows = descriptor, root, chunk_rows
        self.node = lru_cache(256)(self._read_node)

    def find(self, begin: int, end: int) -> list[Place]:
        wanted = range(begin * self.chunk_rows, end * self.chunk_rows, self.chunk_rows)
        rows: list[int] = []
        places: list[Place] = []
        self._collect(self.node(self.root), wanted, rows, places)
        if rows != list(wanted):
            raise ValueError("a part of the table was never written")
        return places

    def _collect(self, node, wanted, rows, places):
        high = bisect_left(node.rows, wanted.stop)
        if node.level == 0:
            low = bisect_left(node.rows, wanted.start)
            rows += node.rows[low:high]
            places += node.places[low:high]
            return
        low = max(0, bisect_right(node.rows, wanted.start) - 1)
        for place in node.places[low:high]:
            child = self.node(place.offset)
            if child.level != node.level - 1 or len(rows) > len(wanted):
                raise ValueError("the table's index is broken")
            self._collect(child, wanted, rows, places)

    def _read_node(self, address) -> _Node:
        raw = _read(self.descriptor, address, _NODE_HEADER.size + _USUAL_ENTRIES * _NODE_ENTRY.itemsize)
        signature, kind, level, used, _, _ = _NODE_HEADER.unpack_from(raw)
        size = _NODE_HEADER.size + used * _NODE_ENTRY.itemsize
        if signature != b"TREE" or kind != _CHUNK_NODE:
            raise ValueError("the table's index is broken")
        if used > _USUAL_ENTRIES:
            raw = _read(self.descriptor, address, size)
        if len(raw) < size:
            raise ValueError("the table's index is cut short")
        entries = np.frombuffer(raw, _NODE_ENTRY, used, _NODE_HEADER.size)
        columns = (entries[name].tolist() for name in ("address", "size", "mask"))
        return _Node(level, entries["row"].tolist(), [Place(*place) for place in zip(*columns, strict=True)])


def _tree_address(descriptor, dataset) -> int:
    # The layout message of the dataset's object header has the address of the tree.
    creation = dataset.file.id.get_create_plist()
    if creation.get_sizes() != (8, 8) or dataset.file.userblock_size:
        raise ValueError("addresses of another kind")
    start = h5py.h5o.get_info(dataset.id).addr
    version, _, _, _, length = struct.unpack_from("<BBHII", _read(descriptor, start, 16))
    if version != 1:
        raise ValueError("an object header of another version")
    blocks = [(start + 16, length)]
    for block in blocks:
        raw, position = _read(descriptor, *block), 0
        while position + 8 <= len(raw):
            kind, size = struct.unpack_from("<HH", raw, position)
            body = raw[position + 8 : position + 8 + size]
            if kind == _LAYOUT:
                layout_version, layout, dimensions, address = struct.unpack_from("<BBBQ", body)
                if (layout_version, layout, dimensions) != (3, _CHUNKED, 2):
                    raise ValueError("another layout")
                return address
            if kind == _CONTINUATION and len(blocks) < 16:
                blocks.append(struct.unpack_from("<QQ", body))
            position += 8 + size
    raise ValueError("no layout message")


def _read(descriptor, address, size) -> bytes:
    if size > 1 << 22 or address >= 1 << 62:
        raise ValueError("the table's index is broken")
    return os.pread(descriptor, size, address)
