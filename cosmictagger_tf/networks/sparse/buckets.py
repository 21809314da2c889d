"""Static shapes: rulebooks filled up to lengths of a small family, for compilers that compile once a shape.

The lengths of all levels follow from one scale, so that there are few of them: one for every 25 % of sites. In each
level they leave room for what real events were seen to have (SHARES); a batch whose levels are fuller gets the next
scale that holds them all. Without XLA none of this is needed, and the lists are as long as they have sites.
"""

import numpy as np

from cosmictagger_tf.config import NetworkConfig

# Sites of a level for each site of the finest, with some room: three SBND events have 0.58, 0.39, 0.28, 0.17, 0.07.
SHARES = (1.0, 0.65, 0.45, 0.32, 0.20, 0.09, 0.04, 0.015)
# The same where only charged ones go down (descend_charge=15): 0.26, 0.12, 0.07, 0.04, 0.03, 0.01, 0.005.
SHARES_CHARGED = (1.0, 0.32, 0.15, 0.09, 0.055, 0.035, 0.02, 0.01)
SMALLEST, STEP, STEPS = 512, 1.25, 64


def bucket_sizes(book: dict, config: NetworkConfig) -> list[int]:
    """The lengths to which a rulebook is filled up, one for each level but the deepest."""
    depth = config.network_depth
    scales = SMALLEST * STEP ** np.arange(STEPS)
    shares = SHARES_CHARGED if config.descend_charge else SHARES
    table = np.minimum(np.ceil(scales[:, None] * shares[:depth]), 2.0**30).astype(int)
    counts = [len(book[f"images_{level}"]) for level in range(depth)]
    return table[max(np.searchsorted(table[:, level], n) for level, n in enumerate(counts))].tolist()


def fill_up(book: dict, sizes, config: NetworkConfig) -> dict:
    """The same rulebook with lists of the given lengths.

    Args:
        book: see rulebook.build_rulebook.
        sizes: integers, a length for each level but the deepest; at least the number of its sites.
        config: the architecture.

    Returns:
        A rulebook whose padded sites nobody's window holds.
    """
    counts = [len(book[f"images_{level}"]) for level in range(config.network_depth)]
    counts.append(len(book[f"children_{config.network_depth - 1}"]))
    sizes = [*sizes, counts[-1]]

    def filled(table, rows, of, times=1):
        """`rows` and `of`: the levels that the table has rows for, and that its entries are sites of."""
        absent = times * sizes[of]
        return _longer(np.where(table == times * counts[of], absent, table), sizes[rows] - counts[rows], absent)

    longer = dict(book)
    longer["values"] = _longer(book["values"], sizes[0] - counts[0], 0.0)
    longer["pixel_sites"] = np.where(book["pixel_sites"] == counts[0], sizes[0], book["pixel_sites"])
    longer["neighbours_first"] = filled(book["neighbours_first"], 0, 0)
    for level in range(config.network_depth):
        longer[f"neighbours_{level}"] = filled(book[f"neighbours_{level}"], level, level)
        longer[f"images_{level}"] = _longer(book[f"images_{level}"], sizes[level] - counts[level], -1)
        if config.exchanges_rows_at(level):
            longer[f"rows_{level}"] = _longer(book[f"rows_{level}"], sizes[level] - counts[level], -1)
        longer[f"children_{level}"] = filled(book[f"children_{level}"], level + 1, level)
        longer[f"parents_{level}"] = filled(book[f"parents_{level}"], level, level + 1, times=4)
    return longer


def _longer(table, more, value):
    return np.pad(table, [(0, more)] + [(0, 0)] * (table.ndim - 1), constant_values=value)
