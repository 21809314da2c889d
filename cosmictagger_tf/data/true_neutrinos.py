"""The true neutrino interactions of each event of a data set, for tables: without reading a pixel."""

import logging

from cosmictagger_tf.data.dataset import FilesReader
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.tables import Hdf5File
from cosmictagger_tf.data.truth_tables import particle_tables
from cosmictagger_tf.errors import DataError, read_errors

log = logging.getLogger(__name__)

Interactions = tuple[Neutrino, ...]


def read_interactions(
    reader: FilesReader, producer: str, skip_broken: bool = False
) -> list[Interactions | None] | None:
    """The interactions of each event, None where its file has no such product.

    Args:
        reader: of the data set.
        producer: of the particle product.
        skip_broken: those of an entry that cannot be read are None, which is logged, instead of raising an error.

    Returns:
        None where no file has the product.

    Raises:
        DataError: the product is broken.
    """
    interactions: list[Interactions | None] = []
    path, file, particles, told = "", None, None, False
    try:
        for entry in range(len(reader)):
            part, place = reader.locate(entry)
            if part.path != path:
                if file is not None:
                    file.close()
                path, file = part.path, Hdf5File(part.path, part.identity)
                particles = particle_tables(file, producer, len(part))
                told = told or particles is not None
            try:
                with read_errors(path):
                    those = particles.read(place) if particles else None
            except DataError as error:
                if not skip_broken:
                    raise
                log.info(f"no true neutrino: {error}")
                those = None
            interactions.append(those)
    finally:
        if file is not None:
            file.close()
    return interactions if told else None
