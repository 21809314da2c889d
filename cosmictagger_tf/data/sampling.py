"""Which entries, in which order, on which rank: pure functions, so that a run resumes from its step alone.

Training is an endless stream: the epochs' permutations, one after the other, cut into global batches. A batch may
straddle two epochs, so every entry comes exactly once an epoch whatever the batch size. Rank r of R takes the r-th
contiguous part of each global batch: the global batch does not depend on R.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

FILLER = -1


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, n_entries: int) -> np.ndarray:
    """The order of the entries in one epoch: int64 [n_entries], a permutation drawn from (seed, epoch)."""
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n_entries)
    order.flags.writeable = False
    return order


def training_entries(seed: int, step: int, size: int, n_entries: int, rank: int = 0, ranks: int = 1) -> np.ndarray:
    """The entries of one rank in one training step.

    Args:
        seed: of the run.
        step: training step, from 0.
        size: events of a global batch; divisible by ranks.
        n_entries: entries of the data set.
        rank, ranks: which of how many.

    Returns:
        int64 [size / ranks].
    """
    local = size // ranks
    positions = step * size + rank * local + np.arange(local)
    epochs, places = np.divmod(positions, n_entries)
    entries = np.empty(local, np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        entries[chosen] = epoch_order(seed, int(epoch), n_entries)[places[chosen]]
    return entries


def evaluation_batches(n_entries: int, size: int, rank: int = 0, ranks: int = 1) -> Iterator[np.ndarray]:
    """All entries in file order, in batches of `size`; rank r takes the batches r, r + ranks, ...

    The last batch is filled up with FILLER, so that every batch has the same shape.
    """
    for first in range(rank * size, n_entries, ranks * size):
        entries = np.arange(first, first + size)
        yield np.where(entries < n_entries, entries, FILLER)
