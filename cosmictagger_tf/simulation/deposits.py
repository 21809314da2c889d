"""What transport leaves behind: energy deposits, and electrons and photons still to be followed."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

ELECTRON, POSITRON, PHOTON = 0, 1, 2


@dataclass(frozen=True)
class _Columns:
    """Arrays of one length, row by row a thing."""

    # The attributes in order; dataclasses.fields takes too long for what is done thousands of times an event.
    names: ClassVar[tuple[str, ...]] = ()

    def __len__(self):
        return len(getattr(self, self.names[0]))

    def take(self, which):
        """Those rows that a mask or an index chooses."""
        return type(self)(*(getattr(self, name)[which] for name in self.names))

    @classmethod
    def join(cls, parts):
        """All rows of several, at least one."""
        parts = [p for p in parts if len(p)] or parts[:1]
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in cls.names))


@dataclass(frozen=True)
class Deposits(_Columns):
    """Energy left on short straight steps.

    Attributes:
        points: float64 [n, 3], cm, the middle of a step.
        steps: float64 [n, 3], cm, the step itself.
        energy: float64 [n], MeV.
        group: int64 [n], which primary it belongs to (see generate).
        recorded: bool [n], whether the truth knows of it; the sample's truth lost some electrons of stray photons.
    """

    names = ("points", "steps", "energy", "group", "recorded")
    points: np.ndarray
    steps: np.ndarray
    energy: np.ndarray
    group: np.ndarray
    recorded: np.ndarray

    @classmethod
    def none(cls) -> "Deposits":
        """No deposit."""
        return cls(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool))


@dataclass(frozen=True)
class Quanta(_Columns):
    """Electrons, positrons and photons.

    Attributes:
        kind: int64 [n], ELECTRON, POSITRON or PHOTON.
        points: float64 [n, 3], cm.
        directions: float64 [n, 3], unit vectors.
        energy: float64 [n], kinetic, MeV.
        group: int64 [n].
        recorded: bool [n].
    """

    names = ("kind", "points", "directions", "energy", "group", "recorded")
    kind: np.ndarray
    points: np.ndarray
    directions: np.ndarray
    energy: np.ndarray
    group: np.ndarray
    recorded: np.ndarray

    @classmethod
    def none(cls) -> "Quanta":
        """Nothing to follow."""
        zeros = np.zeros(0, np.int64)
        return cls(zeros, np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), zeros, np.zeros(0, bool))

    @classmethod
    def make(cls, kind: int, points, directions, energy, group: int) -> "Quanta":
        """Some of one kind and group; points and directions [n, 3] or [3]."""
        energy = np.atleast_1d(np.asarray(energy, float))
        n = len(energy)
        at, along = (np.broadcast_to(np.asarray(a, float), (n, 3)).copy() for a in (points, directions))
        return cls(np.full(n, kind), at, along, energy, np.full(n, group), np.ones(n, bool))


def dot(one, other) -> float:
    """The scalar product of two vectors [3], summed in this order.

    That of BLAS, which `@` and np.linalg.norm take for single vectors, is rounded as the processor's kernel has it, and
    the events of a seed would not be the same on all machines.
    """
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def length(vector) -> float:
    """Of a vector [3]; see dot."""
    return float(np.sqrt(dot(vector, vector)))


def isotropic(rng, n: int) -> np.ndarray:
    """float64 [n, 3], unit vectors in all directions alike."""
    v = rng.normal(size=(n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def turned(directions: np.ndarray, cosine: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Unit vectors [n, 3] at an angle (its cosine) and azimuth (rad) about others."""
    helper = np.where(np.abs(directions[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    one = np.cross(directions, helper)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other = np.cross(directions, one)
    sine = np.sqrt(np.maximum(1.0 - cosine**2, 0.0))
    across = np.cos(azimuth)[:, None] * one + np.sin(azimuth)[:, None] * other
    return cosine[:, None] * directions + sine[:, None] * across
