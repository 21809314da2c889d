"""The ranks of a job as one of them sees it; this is the job of one rank, which needs neither Horovod nor TensorFlow.

Those that Horovod connects: horovod_ranks.py.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cosmictagger_tf.errors import ConfigError, StoppedElsewhere, UserError

# Of the differences between ranks, those that one line names.
MOST_NAMED = 4


class Ranks:
    """The ranks of a job, as one of them sees it. This is the job of one rank.

    Attributes:
        rank, size: this rank's number, and how many there are.
        local_rank: its number among the ranks of its node.
        connected: whether there is a connection, even where there is one rank.
        elastic: whether ranks may come and go.
        stopped: whether all ranks know already that one of them failed.
    """

    rank, size, local_rank = 0, 1, 0
    connected = elastic = stopped = False

    def part(self, name: str, events: int) -> int:
        """The events of a global batch that are this rank's; raises ConfigError where the ranks do not divide it."""
        if events % self.size:
            raise ConfigError(
                f"--{name}={events}: is the batch of all ranks together and must be a multiple of their number, "
                f"{self.size}"
            )
        return events // self.size

    def mean(self, tensor):
        """A float tensor's mean over the ranks; its gradient is averaged in turn."""
        return tensor

    def sum(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Sums over the ranks, in the arrays' own dtype: exact for integers."""
        return arrays

    def average(self, variables: list):
        """Gives Keras variables of a float type their mean over the ranks."""

    def gather(self, thing: Any) -> list:
        """Every rank's thing (anything that pickles), by rank, on all ranks.

        Raises:
            StoppedElsewhere: another rank failed within `agreed` before it gathered.
        """
        return self._exchange(None, thing)

    def decided(self, decide: Callable[[], Any]) -> Any:
        """What `decide` gives on rank 0, where alone it is called, on all ranks; belongs within `agreed`."""
        return self.gather(decide() if self.rank == 0 else None)[0]

    def same(self, values: dict[str, Any]):
        """Makes sure that all ranks have the same values.

        Args:
            values: by what they are called; plain Python values.

        Raises:
            ConfigError: they differ; the message names what, and the values of which ranks.
            StoppedElsewhere: the same, where another rank reports it.
        """
        shares = self.gather((socket.gethostname(), values))
        with self.agreed():
            differences = _differences(shares)
            if differences:
                more = f"; and {len(differences) - MOST_NAMED} more" if len(differences) > MOST_NAMED else ""
                raise ConfigError(
                    f"the ranks differ in {'; '.join(differences[:MOST_NAMED])}{more}: "
                    "all ranks need the same options, files and versions"
                )

    def broadcast(self, variables: list):
        """Gives Keras variables the values that they have on rank 0."""

    @contextlib.contextmanager
    def agreed(self) -> Iterator[None]:
        """Around what all ranks do at the same time: if one raises, all do, and one of them reports why.

        Within it the ranks may gather, and agree on parts of it.
        """
        try:
            yield
        except Exception as error:
            if not self.stopped:
                self._exchange(error)
            raise
        self._exchange(None)

    def _exchange(self, error: Exception | None, thing: Any = None) -> list:
        # All ranks call it at the same time, each with a thing or with an error.
        shares = self._from_all((error is not None, thing))
        failed = [rank for rank, (has_failed, _) in enumerate(shares) if has_failed]
        if not failed:
            return [share for _, share in shares]
        self.stopped = True
        if error is not None and failed[0] == self.rank:
            if isinstance(error, UserError):
                error.settled = True
            raise error
        raise StoppedElsewhere from None

    def _from_all(self, thing: Any) -> list:
        # Every rank's thing, by rank, on all ranks.
        return [thing]

    def changed(self) -> bool:
        """Whether this rank has heard that ranks come or go."""
        return False

    def begin_again(self):
        """Where ranks come or go: leaves this attempt at the job, by an exception, for one with other Ranks."""


def _differences(shares: list[tuple[str, dict]]) -> list[str]:
    # (node, values) of each rank -> what they differ in, as "name: 4 on rank 0 (a), 8 on ranks 1, 2 (b)".
    lines = []
    for name in dict.fromkeys(name for _, values in shares for name in values):
        holders: dict[str, list[int]] = {}
        for rank, (_, values) in enumerate(shares):
            holders.setdefault(str(values.get(name, "nothing")), []).append(rank)
        if len(holders) > 1:
            lines.append(f"{name}: {', '.join(f'{value} {_of(some, shares)}' for value, some in holders.items())}")
    return lines


def _of(ranks: list[int], shares) -> str:
    nodes = ", ".join(sorted({shares[rank][0] for rank in ranks})[:MOST_NAMED])
    numbers = ", ".join(map(str, ranks[:MOST_NAMED])) + (" ..." if len(ranks) > MOST_NAMED else "")
    return f"on rank{'s' if len(ranks) > 1 else ''} {numbers} ({nodes})"
