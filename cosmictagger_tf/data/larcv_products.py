"""The products of larcv3 files as they lie there, entry by entry: for copying them to another file unread.

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
from cosmictagger_tf.data.tables import Hdf5File, Table
from cosmictagger_tf.errors import DataError


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

    Raises:
        DataError: the file cannot be read, or has no such product, or one of a kind that is not known.
    """

    def __init__(self, path: str, names: Sequence[str] | None = None):
        self.path = path
        self.file = Hdf5File(path)
        try:
            with self.file.sound():
                there = product_names(self.file)
                missing = sorted(set(names or ()) - set(there))
                if missing:
                    raise DataError(path, f"has no product {missing[0]} (it has: {', '.join(there) or 'none'})")
                self.tables = {name: self._tables(name) for name in (there if names is None else names)}
        except BaseException:
            self.close()
            raise

    def _tables(self, name) -> tuple[list[Table], list[Table]]:
        # The tables of the chain, and those beside its second one.
        kind, group = name.partition("_")[0], f"/Data/{name}_group"
        if kind not in CHAINS:
            raise DataError(self.path, f"cannot copy {name}, a kind that is not known (known: {', '.join(CHAINS)})")
        chain = [
            self.file.table(f"{group}/{table}", {"first": "iu", "N": "iu"} if table != CHAINS[kind][-1] else {})
            for table in CHAINS[kind]
        ]
        others = sorted(set(self.file.h5[group]) - set(CHAINS[kind]))
        beside = [self.file.table(f"{group}/{table}", {}) for table in others]
        for table in beside:
            if len(table) != len(chain[1]):
                raise DataError(self.path, f"{table.name} has {len(table)} rows, but {chain[1].name} {len(chain[1])}")
        return chain, beside

    def read(self, entry: int) -> dict[str, RawProduct]:
        """An entry of every product, by the product's name; raises DataError."""
        return {name: self._read_product(name, entry) for name in self.tables}

    def _read_product(self, name, entry) -> RawProduct:
        chain, beside = self.tables[name]
        found: list[TableRows] = []
        at = np.array([entry], np.int64)
        counts = np.ones(1, np.int64)
        try:
            for table in chain:
                found.append(TableRows(_read_ranges(table, at, counts), table.dataset))
                if len(found) == 2:
                    metas = [TableRows(_read_ranges(table, at, counts), table.dataset) for table in beside]
                if table is not chain[-1]:
                    rows = found[-1].rows
                    at, counts = rows["first"].astype(np.int64), rows["N"].astype(np.int64)
        except ValueError as error:
            raise DataError(self.path, f"{name}: {error}", entry) from None
        return RawProduct(_by_name(found), _by_name(metas))

    def close(self):
        """Closes the file."""
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
            self.open = ProductFile(part.path, self.names)
        return self.open.read(place)

    def close(self):
        """Closes the file."""
        if self.open is not None:
            self.open.close()
        self.open = None


def product_names(file: Hdf5File) -> list[str]:
    """The products of a file, such as "particle_sbndneutrino", in alphabetical order."""
    return sorted(name.removesuffix("_group") for name in file.members("Data") if name.endswith("_group"))


def _by_name(tables) -> dict[str, TableRows]:
    return {table.like.name.rsplit("/", 1)[1]: table for table in tables}


def _read_ranges(table: Table, firsts, counts) -> np.ndarray:
    # The rows of all ranges, one after the other; ranges that follow each other are read at once.
    used = counts > 0
    firsts, counts = firsts[used], counts[used]
    if (firsts < 0).any() or (firsts > len(table)).any() or counts.sum() > len(table):
        raise ValueError(f"extents point beyond the {len(table)} rows of {table.name}")
    breaks = np.flatnonzero(firsts[1:] != firsts[:-1] + counts[:-1]) + 1
    runs = [(int(firsts[a]), int(counts[a:b].sum())) for a, b in pairwise([0, *breaks, len(firsts)]) if a < b]
    # As plain bytes, since numpy leaves out those between the columns where it copies structured arrays.
    parts = [table.read(first, count).view(f"V{table.dtype.itemsize}").copy() for first, count in runs]
    return (np.concatenate(parts) if parts else np.zeros(0, f"V{table.dtype.itemsize}")).view(table.dtype)
