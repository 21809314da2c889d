"""A product of an open larcv3 file, entry by entry, as the file stores it.

A product is a chain of tables: each row of one names a range of rows of the next (first, N), down to the data; beside
the second one mostly stands a table of the same length, `image_meta`. See larcv_format.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import h5py
import numpy as np

from cosmictagger_tf.data.larcv_format import CHAINS
from cosmictagger_tf.data.tables import Hdf5File, Table
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.text import counted

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


class ProductTables:
    """The tables of one product.

    Args:
        file: open.
        name: such as "particle_sbndneutrino"; of a kind in larcv_format.CHAINS.
        entries: of the file.
        columns: what the tables must have beside ranges, by the table's name; see Hdf5File.table.

    Raises:
        DataError: a table or column is missing, or the product has not as many entries as the file.
    """

    def __init__(self, file: Hdf5File, name: str, entries: int, columns: Mapping[str, dict[str, str]] | None = None):
        self.path, self.name = file.path, name
        names, group, columns = CHAINS[kind_of(name)], f"/Data/{name}_group", columns or {}
        ranges = {"first": "iu", "N": "iu"}
        self.chain = [
            file.table(f"{group}/{table}", (ranges if table != names[-1] else {}) | columns.get(table, {}))
            for table in names
        ]
        others = sorted(set(file.members(group)) - set(names))
        self.beside = [file.table(f"{group}/{table}", columns.get(table, {})) for table in others]
        if len(self.chain[0]) != entries:
            lengths = f"{counted(len(self.chain[0]), 'entry')}, but the file {counted(entries, 'event id')}"
            raise DataError(self.path, f"product {name} has {lengths}: copy or make it again, or remove the product")
        for table in self.beside:
            if len(table) != len(self.chain[1]):
                lengths = (
                    f"{table.name} has {counted(len(table), 'row')}, but {self.chain[1].name} {len(self.chain[1])}"
                )
                raise DataError(self.path, f"{lengths}: copy or make it again, or remove the product {name}")

    @property
    def tables(self) -> list[Table]:
        """All of them."""
        return [*self.chain, *self.beside]

    def check(self):
        """Raises DataError where rows of a table name rows that the next one does not have; reads no data."""
        for table, after in pairwise(self.chain):
            for first in range(0, len(table), _ROWS_AT_ONCE):
                try:
                    _ranges_of(table.read(first, min(_ROWS_AT_ONCE, len(table) - first)), after)
                except ValueError as error:
                    raise DataError(self.path, f"{self.name}: {error}") from None

    def read(self, entry: int) -> RawProduct:
        """An entry; raises DataError, which names the plane where rows of one are to blame."""
        rows: list[TableRows] = []
        at = np.array([entry], np.int64)
        counts = np.ones(1, np.int64)
        try:
            for table in self.chain:
                rows.append(TableRows(_read_ranges(table, at, counts), table.dataset))
                if len(rows) == 2:
                    metas = [TableRows(_read_ranges(table, at, counts), table.dataset) for table in self.beside]
                if table is not self.chain[-1]:
                    at, counts = _ranges_of(rows[-1].rows, self.chain[len(rows)])
        except BadRange as error:
            raise DataError(self.path, f"{self.name}: {error}", entry, _plane_of(error.row, rows)) from None
        except ValueError as error:
            raise DataError(self.path, f"{self.name}: {error}", entry) from None
        return RawProduct(_by_name(rows), _by_name(metas))


class BadRange(ValueError):
    """A row names rows of the next table that are not there.

    Attributes:
        row: its number among those that were read.
    """

    def __init__(self, row: int, table: Table):
        super().__init__(f"extents point beyond the {counted(len(table), 'row')} of {table.name}")
        self.row = row


def product_names(file: Hdf5File) -> list[str]:
    """The products of a file, such as "particle_sbndneutrino", in alphabetical order."""
    return sorted(name.removesuffix("_group") for name in file.members("Data") if name.endswith("_group"))


def products_with_tables(file: Hdf5File) -> list[str]:
    """Those that are more than their empty group, as early larcv3 wrote it."""
    return [name for name in product_names(file) if file.members(f"Data/{name}_group")]


def kind_of(name: str) -> str:
    """The kind of a product's name: "particle" of "particle_sbndneutrino"."""
    return name.partition("_")[0]


def _ranges_of(rows, table: Table) -> tuple[np.ndarray, np.ndarray]:
    # The ranges of a table's rows that these rows name, as int64: what does not fit it is negative or too large.
    firsts, counts = (rows[name].astype(np.int64) for name in ("first", "N"))
    wrong = (counts < 0) | ((counts > 0) & ((firsts < 0) | (counts > len(table) - firsts)))
    if wrong.any():
        raise BadRange(int(np.argmax(wrong)), table)
    return firsts, counts


def _plane_of(row: int, chain: list[TableRows]) -> int | None:
    # Which plane a row of the last of these tables belongs to, where the second one is that of the planes.
    if len(chain) < 2 or "ID" not in (chain[1].rows.dtype.names or ()):
        return None
    planes = chain[1].rows
    if len(chain) > 2:
        row = int(np.searchsorted(np.cumsum(planes["N"].astype(np.int64)), row, side="right"))
    return int(planes["ID"][row])


def _by_name(tables) -> dict[str, TableRows]:
    return {table.like.name.rsplit("/", 1)[1]: table for table in tables}


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
