"""What readouts are in truth: their class, the neutrino's energy, and what left the nucleus."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.data.truth import event_class
from cosmictagger_tf.detector import COSMIC_ONLY, NC, NUE_CC, NUMU_CC, UNKNOWN_EVENT_CLASS

ENERGY_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, np.inf)  # GeV
ALL, COSMIC, UNKNOWN = "with a neutrino", "cosmic rays only", "unknown"
CHARGED_CURRENTS = {NUE_CC: "nue CC", NUMU_CC: "numu CC"}
PION, NUCLEONS = "with a pion", "nucleons alone"
# Without the file's word for it, "nucleons alone" would be a guess.
UNTOLD_NC = "NC of unknown final state"


@dataclass(frozen=True)
class TrueReadouts:
    """The truth of an evaluation's readouts.

    Attributes:
        classes: int64 [events], indices of detector.EVENT_CLASS_NAMES, or UNKNOWN_EVENT_CLASS.
        energies: float64 [events], of the neutrino, GeV; NaN where the class is not that of one.
        final_states: [events], PION or NUCLEONS; "" where the class is not that of a neutrino, or the file does not
            tell what left the nucleus.
        untold: bool [events], those of unknown class because the file does not tell of their neutrinos.
    """

    classes: np.ndarray
    energies: np.ndarray
    final_states: np.ndarray
    untold: np.ndarray

    @classmethod
    def of(cls, interactions: Sequence[Sequence[Neutrino] | None], neutrino_pixels: Sequence[int]) -> "TrueReadouts":
        """That of events with these interactions (None: unknown) and so many pixels labelled neutrino in all."""
        classes = [event_class(those, int(n)) for those, n in zip(interactions, neutrino_pixels, strict=True)]
        energies, states = np.full(len(classes), np.nan), [""] * len(classes)
        for event, (number, those) in enumerate(zip(classes, interactions, strict=True)):
            if those and number not in (COSMIC_ONLY, UNKNOWN_EVENT_CLASS):
                energies[event] = those[0].energy
                states[event] = those[0].final_state if those[0].outgoing else ""
        untold = np.array([those is None for those in interactions], bool) & (np.array(classes) == UNKNOWN_EVENT_CLASS)
        return cls(np.array(classes, np.int64), energies, np.array(states, object), untold)

    @property
    def cosmic_only(self) -> np.ndarray:
        """bool [events]."""
        return self.classes == COSMIC_ONLY

    @property
    def with_neutrino(self) -> np.ndarray:
        """bool [events], those of one interaction of known class."""
        return ~self.cosmic_only & ~self.unknown

    @property
    def unknown(self) -> np.ndarray:
        """bool [events], those with neutrino pixels whose class is not known."""
        return self.classes == UNKNOWN_EVENT_CLASS

    def kinds(self) -> dict[str, np.ndarray]:
        """Name -> bool [events]: all with a neutrino, then by class, neutral currents by final state as well."""
        nc = self.classes == NC
        kinds = {name: self.classes == number for number, name in CHARGED_CURRENTS.items()}
        kinds |= {"NC with a pion": nc & (self.final_states == PION)}
        kinds |= {"NC of nucleons alone": nc & (self.final_states == NUCLEONS)}
        untold = nc & (self.final_states == "")
        return {ALL: self.with_neutrino, **kinds, **({UNTOLD_NC: untold} if untold.any() else {})}

    def groups(self) -> dict[str, dict[str, np.ndarray]]:
        """Title -> name -> bool [events]: by what efficiencies are given. Only a kind may have no event."""
        states = {
            f"{name} {state}": (self.classes == number) & (self.final_states == state)
            for number, name in CHARGED_CURRENTS.items()
            for state in (PION, NUCLEONS)
        }
        others = {"final state": states, "neutrino energy (GeV)": dict(between(self.energies, ENERGY_EDGES))}
        return {"kind": self.kinds()} | {
            title: {name: chosen for name, chosen in group.items() if chosen.any()} for title, group in others.items()
        }

    def partition(self) -> dict[str, np.ndarray]:
        """Name -> bool [events]: each event is in one, of its kind, COSMIC or UNKNOWN; none is without events."""
        names = self.names()
        names[names == ""] = UNKNOWN
        return {name: names == name for name in sorted(set(names))}

    def names(self) -> np.ndarray:
        """The kind of each event, or COSMIC: str [events]; "" where it is not known."""
        names = np.where(self.cosmic_only, COSMIC, "").astype(object)
        for name, chosen in self.kinds().items():
            names[chosen & (name != ALL)] = name
        return names

    def absent(self) -> list[str]:
        """The kinds of which there is no readout; one of unknown class may be of any kind with a neutrino."""
        there = {**({} if self.unknown.any() else self.kinds()), COSMIC: self.cosmic_only}
        return [name for name, chosen in there.items() if not chosen.any()]


def between(quantity: np.ndarray, edges: Sequence[float]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and bool [events] of each bin of a quantity [events]; what is NaN is in none."""
    for low, high in pairwise(edges):
        name = f"{low:.4g} to {high:.4g}" if np.isfinite(high) else f"over {low:.4g}"
        yield name, (quantity >= low) & (quantity < high)
