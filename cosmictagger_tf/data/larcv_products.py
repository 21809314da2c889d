"""The products of larcv3 files, entry by entry, as the files store them: for copying them to another file.

A product is a chain of tables: each row of one names a range of rows of the next (first, N), down to the data; beside
the second one mostly stands a table of the same length, `image_meta`. See larcv_format.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import h5py
import numpy as np

from cosmictagger_tf.data.dataset import FilesReader
from cosmictagger_tf.data.larcv_format import CHAINS
from cosmictagger_tf.data.larcv_h5 import product_names
from cosmictagger_tf.data.tables import FileIdentity, Hdf5File, Table
from cosmictagger_tf.errors import DataError, read_errors
from cosmictagger_tf.text import counted, listed

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class TableRows:
    """Rows of a table, and what it takes to make a table like it.

    Attributes:
        rows: [n], the file's own structured dtype; the bytes between its columns as they are in the file.
        like: the table they come from.
    """

    rows: np.ndarray
    like: h5py.Dataset


@dataclass(frozen=True)
class RawProduct:
    """One entry of a product.

    Attributes:
        chain: the tables in the order in which each names ranges of the next, the data last. The first has one row.
        beside: tables whose rows go with those of the chain's second table, such as image_meta.
    """

    chain: dict[str, TableRows]
    beside: dict[str, TableRows]


class ProductFile:
    """The products of one open file.

    Args:
        path: the file.
        names: of the products, such as "particle_sbndneutrino"; None for all.
        without: names of products that are not looked at.
        same_as: what the file was when a reader opened it; None = none did.

    Attributes:
        empty: names of those that have nothing but their group, as early larcv3 wrote them; are not read.

    Raises:
        DataError: the file cannot be read, is another one by now, or has no such product, or one of a kind that is not
            known, or not of as many entries as the file.
    """

    def __init__(
        self,
        path: str,
        names: Sequence[str] | None = None,
        without: Sequence[str] = (),
        same_as: FileIdentity | None = None,
    ):
        self.path = path
        self.file = Hdf5File(path, same_as)
        try:
            with self.file.sound():
                self.entries = len(self.file.table("/Events/event_id", {}))
                present = [name for name in product_names(self.file) if name not in without]
                known = (name for name in present if _kind(name) in CHAINS)
                self.empty = [name for name in known if not self.file.members(f"/Data/{name}_group")]
                present = [name for name in present if name not in self.empty]
                missing = sorted(set(names or ()) - set(present))
                if missing:
                    raise DataError(path, f"has no product {missing[0]} (it has: {listed(present)})")
                self.tables = {name: self._tables(name) for name in (present if names is None else names)}
        except BaseException:
            self.close()
            raise

    def _tables(self, name) -> tuple[list[Table], list[Table]]:
        # The tables of the chain, and those beside its second one.
        kind, group = _kind(name), f"/Data/{name}_group"
        if kind not in CHAINS:
            raise DataError(self.path, f"cannot copy {name}, a kind that is not known (known: {', '.join(CHAINS)})")
        chain = [
            self.file.table(f"{group}/{table}", {"first": "iu", "N": "iu"} if table != CHAINS[kind][-1] else {})
            for table in CHAINS[kind]
        ]
        others = sorted(set(self.file.members(group)) - set(CHAINS[kind]))
        beside = [self.file.table(f"{group}/{table}", {}) for table in others]
        if len(chain[0]) != self.entries:
            lengths = f"{counted(len(chain[0]), 'entry')}, but the file {counted(self.entries, 'event id')}"
            raise DataError(self.path, f"product {name} has {lengths}: copy or make it again, or remove the product")
        for table in beside:
            if len(table) != len(chain[1]):
                lengths = f"{table.name} has {counted(len(table), 'row')}, but {chain[1].name} {len(chain[1])}"
                raise DataError(self.path, f"{lengths}: copy or make it again, or remove the product {name}")
        for table in (*chain, *beside):
            if table.dtype.hasobject:
                raise DataError(self.path, f"cannot copy {table.name}: it holds things of variable length")
        return chain, beside

    def check(self):
        """Raises DataError where rows of a table name rows that the next one does not have; reads no data."""
        for name, (chain, _) in self.tables.items():
            for table, after in pairwise(chain):
                for first in range(0, len(table), _ROWS_AT_ONCE):
                    try:
                        _ranges(table.read(first, min(_ROWS_AT_ONCE, len(table) - first)), after)
                    except ValueError as error:
                        raise DataError(self.path, f"{name}: {error}") from None

    def read(self, entry: int) -> dict[str, RawProduct]:
        """An entry of every product, by the product's name; raises DataError or ReadError."""
        with read_errors(self.path):
            return {name: self._read_product(name, entry) for name in self.tables}

    def _read_product(self, name, entry) -> RawProduct:
        chain, beside = self.tables[name]
        rows: list[TableRows] = []
        at = np.array([entry], np.int64)
        counts = np.ones(1, np.int64)
        try:
            for table in chain:
                rows.append(TableRows(_read_ranges(table, at, counts), table.dataset))
                if len(rows) == 2:
                    metas = [TableRows(_read_ranges(table, at, counts), table.dataset) for table in beside]
                if table is not chain[-1]:
                    at, counts = _ranges(rows[-1].rows, chain[len(rows)])
        except ValueError as error:
            raise DataError(self.path, f"{name}: {error}", entry) from None
        return RawProduct(_by_name(rows), _by_name(metas))

    def close(self):
        self.file.close()


class Products:
    """The products of a data set, by the data set's entries; one file is open at a time.

    Args:
        reader: of the data set.
        names: as in ProductFile.
    """

    def __init__(self, reader: FilesReader, names: Sequence[str] | None = None):
        self.reader, self.names = reader, names
        self.open: ProductFile | None = None

    def read(self, entry: int) -> dict[str, RawProduct]:
        """An entry of every product, by the product's name; raises DataError."""
        part, place = self.reader.locate(entry)
        if self.open is None or self.open.path != part.path:
            self.close()
            self.open = ProductFile(part.path, self.names, same_as=part.identity)
        return self.open.read(place)

    def close(self):
        if self.open is not None:
            self.open.close()
        self.open = None


def _kind(name) -> str:
    return name.partition("_")[0]


def _by_name(tables) -> dict[str, TableRows]:
    return {table.like.name.rsplit("/", 1)[1]: table for table in tables}


def _ranges(rows, table: Table) -> tuple[np.ndarray, np.ndarray]:
    # The ranges of a table's rows that these rows name, as int64: what does not fit it is negative or too large.
    firsts, counts = (rows[name].astype(np.int64) for name in ("first", "N"))
    if (
        min(counts.min(initial=0), firsts[counts > 0].min(initial=0)) < 0
        or (counts > len(table) - firsts)[counts > 0].any()
    ):
        raise ValueError(f"extents point beyond the {counted(len(table), 'row')} of {table.name}")
    return firsts, counts


def _read_ranges(table: Table, firsts, counts) -> np.ndarray:
    # The rows of all ranges, one after the other; ranges that follow each other are read at once.
    if counts.sum() > len(table):
        raise ValueError(f"extents name {counts.sum()} of the {counted(len(table), 'row')} of {table.name}")
    used = counts > 0
    firsts, counts = firsts[used], counts[used]
    breaks = np.flatnonzero(firsts[1:] != firsts[:-1] + counts[:-1]) + 1
    runs = [(int(firsts[a]), int(counts[a:b].sum())) for a, b in pairwise([0, *breaks, len(firsts)]) if a < b]
    # As plain bytes, since numpy leaves out those between the columns where it copies structured arrays.
    parts = [table.read(first, count).view(f"V{table.dtype.itemsize}").copy() for first, count in runs]
    return (np.concatenate(parts) if parts else np.zeros(0, f"V{table.dtype.itemsize}")).view(table.dtype)
