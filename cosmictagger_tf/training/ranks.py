"""The ranks of a job as one of them sees it; this is the job of one rank, which needs neither Horovod nor TensorFlow.

Those that Horovod connects: distributed.py.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cosmictagger_tf.errors import ConfigError


class Ranks:
    """The ranks of a job, as one of them sees it. This is the job of one rank.

    Attributes:
        rank, size: this rank's number, and how many there are.
        local_rank: its number among the ranks of its node.
        elastic: whether ranks may come and go.
    """

    rank, size, local_rank = 0, 1, 0
    elastic = False

    def part(self, name: str, events: int) -> int:
        """The events of a global batch that are this rank's; raises ConfigError where the ranks do not divide it."""
        if events % self.size:
            raise ConfigError(
                f"--{name}={events}: is the batch of all ranks together and must be a multiple of their number, "
                f"{self.size}"
            )
        return events // self.size

    def teller(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """`say` on rank 0, silence on the others."""
        return say if self.rank == 0 else _silent

    def mean(self, tensor):
        """A float tensor's mean over the ranks; its gradient is averaged in turn."""
        return tensor

    def sum(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Sums over the ranks, in the arrays' own dtype: exact for integers."""
        return arrays

    def average(self, variables: list):
        """Gives Keras variables of a float type their mean over the ranks."""

    def gather(self, thing: Any) -> list:
        """Every rank's thing (anything that pickles), by rank, on all ranks."""
        return [thing]

    def broadcast(self, variables: list):
        """Gives Keras variables the values that they have on rank 0."""

    @contextlib.contextmanager
    def agreed(self) -> Iterator[None]:
        """Around what all ranks do at the same time: if one raises, all do, and one of them says why."""
        yield

    def changed(self) -> bool:
        """Whether this rank has heard that ranks come or go."""
        return False

    def begin_again(self):
        """Where ranks come or go: leaves this attempt at the job, by an exception, for one with other Ranks."""


def _silent(line: str):
    pass
