"""The truth of readouts, from the tables of an open larcv3 file."""

from cosmictagger_tf import geometry
from cosmictagger_tf.config import TruthConfig
from cosmictagger_tf.data.larcv_format import group_name
from cosmictagger_tf.data.neutrino import COLUMNS, Neutrino, has_vertices, neutrinos_of
from cosmictagger_tf.data.product_tables import ProductTables, products_with_tables
from cosmictagger_tf.data.tables import Hdf5File
from cosmictagger_tf.data.truth import PROJECTED, Truth, TruthSources
from cosmictagger_tf.data.vertices import VertexProduct, projected
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.errors import DataError


class ParticleTables:
    """The neutrino interactions in a particle product of an open file.

    Args:
        file: open.
        producer: of the product.
        entries: of the file.

    Raises:
        DataError: a table or column is missing, or the product has not as many entries as the file.
    """

    def __init__(self, file: Hdf5File, producer: str, entries: int):
        self.tables = ProductTables(file, f"particle_{producer}", entries, {"particles": COLUMNS})

    @property
    def have_vertices(self) -> bool:
        """Whether the particles have them."""
        return has_vertices(self.tables.chain[-1].dtype)

    def read(self, entry: int) -> tuple[Neutrino, ...]:
        """Those of an entry; raises DataError."""
        rows = self.tables.read(entry).chain["particles"].rows
        try:
            return neutrinos_of(rows)
        except ValueError as error:
            raise DataError(self.tables.path, f"{self.tables.name}: {error}", entry) from None


class TruthTables:
    """The truth of a file's entries.

    Vertices are those of the bbox2d product, or, where the file has none, of the cluster2d product. Where it has
    neither, or an entry with neutrinos has no vertices there, or several that do not pair up, they are the particles'
    own, projected.

    Args:
        file: open.
        config: which products.
        entries: of the file.
        shape: of its images.

    Raises:
        DataError: a product that the file has is broken.
    """

    def __init__(self, file: Hdf5File, config: TruthConfig, entries: int, shape: ImageShape):
        self.file, self.shape = file, shape
        self.particles = particle_tables(file, config.producer_particle, entries)
        products = (("bbox2d", config.producer_vertex), ("cluster2d", config.producer_vertex_cluster))
        present = [f"{kind}_{name}" for kind, name in products if has_product(file, kind, name)]
        self.vertices = VertexProduct(file, present[0], entries, shape) if present else None

    def sources(self) -> TruthSources:
        """Which truth there is, in any of the entries."""
        projectable = self.particles is not None and self.particles.have_vertices and not geometry.unknown(self.shape)
        vertices_from = self.vertices.tables.name if self.vertices else PROJECTED if projectable else ""
        return TruthSources(self.particles is not None, vertices_from, tuple(products_with_tables(self.file)))

    def read(self, entry: int) -> Truth:
        """That of an entry; raises DataError."""
        neutrinos = self.particles.read(entry) if self.particles else None
        vertices = self.vertices.read(entry) if self.vertices else None
        if neutrinos is not None and (vertices is None or not len(vertices)):
            vertices = projected(neutrinos, self.shape)
        return Truth(neutrinos, vertices)


def particle_tables(file: Hdf5File, producer: str, entries: int) -> ParticleTables | None:
    """The particle product of a file; None where it has none."""
    return ParticleTables(file, producer, entries) if has_product(file, "particle", producer) else None


def has_product(file: Hdf5File, kind: str, producer: str) -> bool:
    """Whether a file has a product that is more than its empty group, as early larcv3 wrote it."""
    return bool(producer) and bool(file.members(group_name(kind, producer)))
