"""All products of larcv3 files, entry by entry, as the files store them: for copying them to another file."""

from collections.abc import Sequence

from cosmictagger_tf.data.dataset import FilesReader
from cosmictagger_tf.data.larcv_format import CHAINS
from cosmictagger_tf.data.product_tables import ProductTables, RawProduct, kind_of, product_names
from cosmictagger_tf.data.tables import FileIdentity, Hdf5File
from cosmictagger_tf.errors import DataError, read_errors
from cosmictagger_tf.text import listed


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
                known = (name for name in present if kind_of(name) in CHAINS)
                self.empty = [name for name in known if not self.file.members(f"/Data/{name}_group")]
                present = [name for name in present if name not in self.empty]
                missing = sorted(set(names or ()) - set(present))
                if missing:
                    raise DataError(path, f"has no product {missing[0]} (it has: {listed(present)})")
                self.tables = {name: self._tables(name) for name in (present if names is None else names)}
        except BaseException:
            self.close()
            raise

    def _tables(self, name) -> ProductTables:
        if kind_of(name) not in CHAINS:
            raise DataError(self.path, f"cannot copy {name}, a kind that is not known (known: {', '.join(CHAINS)})")
        product = ProductTables(self.file, name, self.entries)
        for table in product.tables:
            if table.dtype.hasobject:
                raise DataError(self.path, f"cannot copy {table.name}: it holds things of variable length")
        return product

    def check(self):
        """Raises DataError where rows of a table name rows that the next one does not have; reads no data."""
        for product in self.tables.values():
            product.check()

    def read(self, entry: int) -> dict[str, RawProduct]:
        """An entry of every product, by the product's name; raises DataError or ReadError."""
        with read_errors(self.path):
            return {name: product.read(entry) for name, product in self.tables.items()}

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
