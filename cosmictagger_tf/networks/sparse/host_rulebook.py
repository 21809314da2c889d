"""The rulebook built on the host, in NumPy, by the threads that read: the same arrays as rulebook.build_rulebook.

There a search finds each row of a window; here a table with a place for every pixel of an event holds the numbers of
its sites, and a window is read off it. That needs no backend, and is less than half the work.
"""

import threading
from itertools import pairwise

import numpy as np

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.blocks import BLOCK_KERNEL, FIRST_KERNEL
from cosmictagger_tf.networks.charge import in_typical_charge
from cosmictagger_tf.networks.sparse.rulebook import MARGIN, Grid, grids

# Each thread's table: a number for every pixel of an event, zero between two uses.
_scratch = threading.local()


def build_rulebook(coordinates: np.ndarray, values: np.ndarray, config: NetworkConfig, shape: ImageShape) -> dict:
    """The rulebook of a batch of pixel lists; arguments and arrays as of rulebook.build_rulebook.

    A pixel listed more than twice has the sum in float64, rounded once.
    """
    levels = grids(config, shape)
    values = in_typical_charge(values, np) if config.normalise_charge else values
    pixel_keys, listed = _keys_of(coordinates, levels[0])
    keys, batch = np.unique(pixel_keys), len(coordinates)
    sites = lookup(keys, pixel_keys, levels[0], batch)[:, 0]
    pixel_sites = np.full(listed.shape, len(keys), np.int32)
    pixel_sites[listed] = sites
    charge = np.bincount(sites, values[listed], len(keys)).astype(np.float32)
    book = {"values": charge[:, None], "pixel_sites": pixel_sites}
    wide = windows(keys, FIRST_KERNEL, levels[0], batch)
    inner = slice((FIRST_KERNEL - BLOCK_KERNEL) // 2, (FIRST_KERNEL + BLOCK_KERNEL) // 2)
    square = wide.reshape(-1, FIRST_KERNEL, FIRST_KERNEL)[:, inner, inner].reshape(-1, BLOCK_KERNEL**2)
    book |= {"neighbours_first": wide, "neighbours_0": square}
    for level, (grid, coarse) in enumerate(pairwise(levels)):
        if level:
            book[f"neighbours_{level}"] = windows(keys, BLOCK_KERNEL, grid, batch)
        image, row, column = grid.place(keys)
        above = coarse.key(image, row // 2, column // 2)
        if level + 1 == config.network_depth:
            coarse_keys = _all_keys(coarse, batch)
        else:
            all_go_down = level or not config.descend_charge
            going = above if all_go_down else above[is_charged(charge, square, config.descend_charge)]
            coarse_keys = np.unique(going)
        book[f"images_{level}"] = image.astype(np.int32)
        if config.exchanges_rows_at(level):
            book[f"rows_{level}"] = (image * grid.height + row).astype(np.int32)
        image, coarse_row, coarse_column = coarse.place(coarse_keys)
        corners = grid.key(image, 2 * coarse_row, 2 * coarse_column)
        book[f"children_{level}"] = lookup(keys, corners, grid, batch, size=2)
        parent, absent = lookup(coarse_keys, above, coarse, batch)[:, 0], np.int32(4 * len(coarse_keys))
        child = (2 * (row % 2) + column % 2).astype(np.int32)
        book[f"parents_{level}"] = np.where(parent < len(coarse_keys), 4 * parent + child, absent)
        keys = coarse_keys
    return book


def _keys_of(coordinates, grid: Grid):
    """The keys of the listed pixels of [batch, planes, P, 2], int64 [listed], in order; and which are listed."""
    batch, planes = coordinates.shape[:2]
    rows, columns = coordinates[..., 0], coordinates[..., 1]
    listed = rows >= 0
    image = np.broadcast_to(np.arange(batch * planes).reshape(batch, planes, 1), listed.shape)
    return grid.key(image[listed], rows[listed], columns[listed]), listed


def windows(keys: np.ndarray, size: int, grid: Grid, batch: int) -> np.ndarray:
    """The sites of the window around each site; see rulebook.neighbours."""
    shift = (size // 2) * (grid.pitch + 1)
    return lookup(keys, keys, grid, batch, size, shift)


def lookup(keys: np.ndarray, places: np.ndarray, grid: Grid, batch: int, size: int = 1, shift: int = 0) -> np.ndarray:
    """The sites in size x size windows.

    Args:
        keys: integer [n], sorted: the sites.
        places: integer [m], keys of this grid, those of an event after those of the event before.
        grid: of both.
        batch: events.
        size: of the windows.
        shift: the upper left corners have the keys `places` - shift; at most MARGIN rows and columns away.

    Returns:
        int32 [m, size * size]: positions in `keys`; n where there is no site.
    """
    span, margin = grid.planes * (grid.height + MARGIN) * grid.pitch, MARGIN * (grid.pitch + 1)
    table = _table(span + 2 * margin + size)
    # A window's row as one item, which NumPy copies faster than `size` numbers.
    row_type = np.dtype((np.void, size * table.itemsize))
    rows: np.ndarray = np.ndarray(len(table) - size + 1, row_type, table, strides=(table.itemsize,))
    windows = np.empty((len(places), size), row_type)
    ends = (np.bincount(some // span, minlength=batch).cumsum() for some in (keys, places))
    first_key = first_place = 0
    for event, (key_end, place_end) in enumerate(zip(*ends, strict=True)):
        origin = span * event - margin
        here, asked = keys[first_key:key_end] - origin, slice(first_place, place_end)
        try:
            # Counted from the end, so that 0 is nowhere and no table need be filled with n.
            table[here] = np.arange(first_key - len(keys), key_end - len(keys))
            corners = places[asked] - (origin + shift)
            for row in range(size):
                windows[asked, row] = rows[corners + row * grid.pitch]
        finally:
            table[here] = 0
        first_key, first_place = key_end, place_end
    sites = windows.view(np.int32).reshape(len(places), size * size)
    sites += np.int32(len(keys))
    return sites


def _table(size) -> np.ndarray:
    if len(getattr(_scratch, "table", ())) < size:
        _scratch.table = np.zeros(size, np.int32)
    return _scratch.table


def is_charged(charge: np.ndarray, square: np.ndarray, least: float) -> np.ndarray:
    """Which sites have enough charge around them, bool [n]; see rulebook.charged."""
    around = np.append(np.abs(charge), 0).astype(np.float64)[square].sum(axis=1)
    return around >= least


def _all_keys(grid: Grid, batch: int) -> np.ndarray:
    image, row, column = np.indices((batch * grid.planes, grid.height, grid.width)).reshape(3, -1)
    return grid.key(image, row, column)
