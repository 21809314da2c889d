"""The true neutrino of each event, where a file's particle product has it."""

import logging
from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.data.dataset import FilesReader
from cosmictagger_tf.data.larcv_format import group_name
from cosmictagger_tf.data.tables import Hdf5File
from cosmictagger_tf.errors import DataError, read_errors

log = logging.getLogger(__name__)

FLAVOURS = {12: "nu_e", 14: "nu_mu", 16: "nu_tau"}
# current_type as GENIE and LArSoft's MCNeutrino number it.
NEUTRAL_CURRENT = 1


@dataclass(frozen=True)
class Neutrino:
    """A neutrino interaction.

    Attributes:
        energy: of the neutrino, GeV.
        pdg: particle number, negative for an antineutrino.
        current: 0 charged, 1 neutral.
    """

    energy: float
    pdg: int
    current: int

    @property
    def flavour(self) -> str:
        """ "nu_mu CC", "nu_e CC", ...; "NC" for all neutral currents."""
        return "NC" if self.current == NEUTRAL_CURRENT else f"{FLAVOURS[abs(self.pdg)]} CC"


def read_neutrinos(reader: FilesReader, producer: str, skip_broken: bool = False) -> list[Neutrino | None] | None:
    """The first neutrino of each event, None for an event without one; None where a file lacks the product.

    Args:
        reader: of the data set.
        producer: of the particle product.
        skip_broken: an entry that cannot be read has none, which is logged, instead of raising an error.

    Raises:
        DataError: the product is broken.
    """
    neutrinos: list[Neutrino | None] = []
    path, tables = "", None
    try:
        for entry in range(len(reader)):
            part, place = reader.locate(entry)
            if part.path != path:
                if tables is not None:
                    tables[0].close()
                path, tables = part.path, _tables(part, producer)
            if tables is None:
                return None
            try:
                neutrinos.append(_neutrino(tables, place))
            except DataError as error:
                if not skip_broken:
                    raise
                log.info(f"no true neutrino: {error}")
                neutrinos.append(None)
    finally:
        if tables is not None:
            tables[0].close()
    return neutrinos


def _tables(part, producer):
    file, group = Hdf5File(part.path, part.identity), group_name("particle", producer)
    if not file.members(group):
        file.close()
        return None
    columns = {"pdg": "iu", "energy_init": "iuf", "current_type": "iu"}
    return file, file.table(f"{group}/extents", {"first": "iu", "N": "iu"}), file.table(f"{group}/particles", columns)


def _neutrino(tables, place) -> Neutrino | None:
    file, extents, particles = tables
    try:
        with read_errors(file.path):
            first, count = (int(extents.read(place, 1)[0][name]) for name in ("first", "N"))
            rows = particles.read(first, count)
    except ValueError as error:
        raise DataError(file.path, str(error), place) from None
    chosen = rows[np.isin(np.abs(rows["pdg"]), list(FLAVOURS))]
    # Primaries come first; a neutrino further down came from a decay.
    return (
        Neutrino(*(chosen[name][0].item() for name in ("energy_init", "pdg", "current_type"))) if len(chosen) else None
    )
