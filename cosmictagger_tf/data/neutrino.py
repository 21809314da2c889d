"""True neutrino interactions, from the rows of a particle product."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

FLAVOURS = {12: "nu_e", 14: "nu_mu", 16: "nu_tau"}
# current_type as GENIE and LArSoft's MCNeutrino number it; particles that are no incoming neutrinos have -1.
CHARGED_CURRENT, NEUTRAL_CURRENT = CURRENTS = 0, 1
# Columns of the particle product that must be there, and the kinds of number each may be.
COLUMNS = {"pdg": "iu", "energy_init": "iuf", "current_type": "iu"}
PRIMARY = b"primary"


@dataclass(frozen=True)
class Neutrino:
    """A neutrino interaction.

    Attributes:
        energy: of the neutrino, GeV.
        pdg: particle number, negative for an antineutrino.
        current: 0 charged, 1 neutral; -1 where the file does not tell.
        interaction: LArSoft's code, such as 1001 (charged quasielastic); -1 where the file does not tell.
        vertex: (x, y, z) in cm and the time in us after the readout's trigger; None where the file does not tell.
        outgoing: particle numbers of what left the nucleus, in the file's order; nuclei too, where it has them.
    """

    energy: float
    pdg: int
    current: int
    interaction: int = -1
    vertex: tuple[float, float, float, float] | None = None
    outgoing: tuple[int, ...] = ()

    @property
    def flavour(self) -> str:
        """ "nu_mu CC", ...; "NC" for all neutral currents; "nu_mu of unknown current" where a file does not tell it."""
        if self.current == NEUTRAL_CURRENT:
            return "NC"
        return f"{FLAVOURS[abs(self.pdg)]} {'CC' if self.current == CHARGED_CURRENT else 'of unknown current'}"

    @property
    def final_state(self) -> str:
        """ "with a pion", or another meson, or "nucleons alone" beside the lepton."""
        # Three digits: the Particle Data Group's numbers of mesons.
        return "with a pion" if any(100 <= abs(pdg) < 1000 for pdg in self.outgoing) else "nucleons alone"


def neutrinos_of(rows: np.ndarray) -> tuple[Neutrino, ...]:
    """The interactions that the rows of an entry describe, in their order.

    An interaction is a neutrino with a current; what left it follows, until the next one. Where no neutrino has a
    current, the first is taken for the one that interacted: primaries come first, and one further down comes of a
    decay.

    Args:
        rows: [particles], structured; COLUMNS, and as far as they are there interaction_type, process and vtx.

    Raises:
        ValueError: an energy or a vertex is not finite.
    """
    # As plain numbers: they are few, and numpy's are slow one by one.
    pdgs, currents = rows["pdg"].tolist(), rows["current_type"].tolist()
    neutrinos = [place for place, pdg in enumerate(pdgs) if abs(pdg) in FLAVOURS]
    places = [place for place in neutrinos if currents[place] in CURRENTS] or neutrinos[:1]
    return tuple(_neutrino(rows[a:b]) for a, b in pairwise([*places, len(rows)]))


def _neutrino(rows) -> Neutrino:
    # Of its own row and those of what left it.
    row, others = rows[0], rows[1:]
    energy, vertex = row["energy_init"].item(), None
    if has_vertices(rows.dtype):
        x, y, z, t = (row["vtx"][name].item() for name in "xyzt")
        vertex = (x, y, z, t / 1000)
    if not all(map(math.isfinite, (energy, *(vertex or ())))):
        raise ValueError(f"a neutrino of {energy:g} GeV at {vertex}")
    if _holds(rows.dtype, "process", "S"):
        others = others[others["process"] == PRIMARY]
    current = row["current_type"].item()
    interaction = row["interaction_type"].item() if _holds(rows.dtype, "interaction_type", "iu") else -1
    told = current if current in CURRENTS else -1
    return Neutrino(energy, row["pdg"].item(), told, interaction, vertex, tuple(others["pdg"].tolist()))


def has_vertices(dtype: np.dtype) -> bool:
    """Whether rows of this structured type have where a particle begins, and when."""
    return _holds(dtype, "vtx", "V") and all(_holds(dtype["vtx"], axis, "iuf") for axis in "xyzt")


def _holds(dtype, name, kinds) -> bool:
    # Whether rows have a column of one of these kinds (numpy.dtype.kind).
    return name in (dtype.names or ()) and dtype[name].kind in kinds
