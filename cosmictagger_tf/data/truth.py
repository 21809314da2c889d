"""What is true of a readout as a whole: its neutrino interactions, their vertices in the images, and its class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosmictagger_tf.data.neutrino import CHARGED_CURRENT, NEUTRAL_CURRENT, Neutrino
from cosmictagger_tf.detector import COSMIC_ONLY, NC, NUE_CC, NUMU_CC, UNKNOWN_EVENT_CLASS

# With fewer neutrino pixels than this, on all planes together, a readout has cosmic rays only.
FEWEST_NEUTRINO_PIXELS = 10


@dataclass(frozen=True)
class Truth:
    """What a file tells of a readout's neutrino interactions.

    Attributes:
        neutrinos: in the file's order, and as the file has them, whatever became of the images since; none where the
            file tells that there is none. None where it does not tell.
        vertices: float64 [interactions, planes, 2], (row, column) in pixels of the images, whose whole parts are the
            pixel; NaN on planes where the vertex lies outside the image. The interactions' order is the neutrinos',
            where the file has as many of both. None where the file does not tell.
    """

    neutrinos: tuple[Neutrino, ...] | None = None
    vertices: np.ndarray | None = None

    def with_vertices(self, change: Callable[[np.ndarray], np.ndarray]) -> "Truth":
        """With changed vertices, where they are known: a function from and to arrays as `vertices` are."""
        return self if self.vertices is None else replace(self, vertices=change(self.vertices))


# Vertices that are those of the particles, projected onto the planes.
PROJECTED = "the particles' projected vertices"


@dataclass(frozen=True)
class TruthSources:
    """Which truth the products of a file tell of readouts with a neutrino; that there is none, the labels tell.

    Attributes:
        interactions: it has the particle product, without which their class is not known.
        vertices_from: the product that its vertices are read from, or PROJECTED; empty: it tells none.
        products: names of those that it has, these and others, such as "particle_sbndneutrino".
    """

    interactions: bool
    vertices_from: str
    products: tuple[str, ...] = ()

    @property
    def vertices(self) -> bool:
        """Whether it tells where the neutrinos interacted."""
        return bool(self.vertices_from)


def event_class(neutrinos: Sequence[Neutrino] | None, neutrino_pixels: int | None) -> int:
    """The class of a readout: an index of detector.EVENT_CLASS_NAMES, or UNKNOWN_EVENT_CLASS.

    Unknown are readouts without labels; those with neutrino pixels of no, of several or of a nu_tau's charged-current
    interaction; and those whose particle product is not there, or does not tell the current.

    Args:
        neutrinos: the interactions; None where the file does not tell.
        neutrino_pixels: labelled so, on all planes together, at the resolution of the network; None without labels.
    """
    if neutrino_pixels is None:
        return UNKNOWN_EVENT_CLASS
    if neutrino_pixels < FEWEST_NEUTRINO_PIXELS:
        return COSMIC_ONLY
    if neutrinos is None or len(neutrinos) != 1:
        return UNKNOWN_EVENT_CLASS
    (neutrino,) = neutrinos
    if neutrino.current == NEUTRAL_CURRENT:
        return NC
    classes = {12: NUE_CC, 14: NUMU_CC} if neutrino.current == CHARGED_CURRENT else {}
    return classes.get(abs(neutrino.pdg), UNKNOWN_EVENT_CLASS)
