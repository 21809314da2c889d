"""The rulebook: which site is whose neighbour, parent and child, level by level.

A site is an active pixel of one level. The sites of a batch stand in one list, sorted by (image, row, column), where
the image of a plane of an event is event * planes + plane. Sorted, the sites of a row of an image lie side by side: so
one binary search finds where a row of a window begins, and a walk along the list finds the rest of it.

Everything is keras.ops without a loop over sites and without a scatter, for the graph of an exported model. Training
and inference get the same arrays from host_rulebook.py. An absent site has the index n, one past its list's end.

Submanifold convolutions: B. Graham, L. van der Maaten, arXiv:1706.01307; for segmentation with B. Graham,
M. Engelcke, L. van der Maaten, CVPR 2018, arXiv:1711.10275, whose "rulebook" this is in gather form.
"""

from typing import NamedTuple

from keras import ops

from cosmictagger_tf.backend import take_rows
from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.networks.blocks import BLOCK_KERNEL, FIRST_KERNEL
from cosmictagger_tf.networks.charge import in_typical_charge
from cosmictagger_tf.networks.scatter import check_batch

# Empty rows and columns between the images of a list, so that no window reaches over an edge into another's pixels.
MARGIN = FIRST_KERNEL // 2
# Larger than every key; a padded site has it, and sorts to the end.
NOWHERE = 2**30
# Smaller than every key by more than a window.
BEFORE_ALL = -(2**30)


class Grid(NamedTuple):
    """The images of one level and how a pixel's place is written as one sortable integer.

    Attributes:
        planes: images of an event.
        height, width: of an image at this level.
    """

    planes: int
    height: int
    width: int

    @property
    def pitch(self) -> int:
        """Distance of the keys of a pixel and of the one below it."""
        return self.width + MARGIN

    def key(self, image, row, column):
        """int32 key of a pixel; sorts by image, row, column."""
        return (image * (self.height + MARGIN) + row) * self.pitch + column

    def place(self, key):
        """(image, row, column) of a key."""
        line = key // self.pitch
        return line // (self.height + MARGIN), line % (self.height + MARGIN), key % self.pitch

    def coarser(self) -> "Grid":
        """The grid of half the size."""
        return Grid(self.planes, self.height // 2, self.width // 2)

    def check_batch(self, batch):
        """Raises ConfigError where the keys of `batch` events would not fit; see scatter.check_batch."""
        most = NOWHERE // (self.planes * (self.height + MARGIN) * self.pitch) - 1
        check_batch(batch, most, "the sparse network")


def grids(config: NetworkConfig, shape: ImageShape) -> list[Grid]:
    """The grid of each level, finest first; the last is the deepest, which is dense."""
    levels = [Grid(shape.planes, shape.height, shape.width)]
    for _ in range(config.network_depth):
        levels.append(levels[-1].coarser())
    return levels


def build_rulebook(coordinates, values, config: NetworkConfig, shape: ImageShape) -> dict:
    """The rulebook of a batch of pixel lists.

    Args:
        coordinates: int32 [batch, planes, P, 2] (row, column), negative where padded. A pixel may be there twice.
        values: float32 [batch, planes, P], 0 where padded.
        config: the architecture, of which network_depth, normalise_charge, descend_charge and row_exchange matter.
        shape: of the images.

    Returns:
        A dict of arrays, n_l being the sites of level l and D = network_depth, whose sites are all pixels. Level 1 has
        a site where one of the up to 4 pixels that it covers has a charge of descend_charge in its 3x3 window; each
        other level has one where any is active:
            values          float32 [n_0, 1]  the sum of the pixels of a site, in units of the typical charge where
                                              normalise_charge asks for it
            pixel_sites     int32 [batch, planes, P]  site of each pixel; n_0 where padded
            neighbours_first    int32 [n_0, 25]  sites of the 5x5 window around each site
            neighbours_{l}  int32 [n_l, 9]    of the 3x3 window, row by row; l < D
            images_{l}      int32 [n_l]       event * planes + plane of each site; -1 where padded; l < D
            children_{l}    int32 [n_l+1, 4]  the sites of level l that each site of level l + 1 covers; l < D
            parents_{l}     int32 [n_l]       4 * (covering site of level l + 1) + (which of its children); 4 n_l+1
                                              where padded or not covered; l < D
            rows_{l}        int32 [n_l]       image * (rows of an image) + row of each site; -1 where padded; for l of
                                              row_exchange
    """
    keys = pixel_keys(coordinates, shape)
    values = in_typical_charge(values) if config.normalise_charge else values
    book = rulebook_of_keys(ops.reshape(keys, (-1,)), ops.reshape(values, (-1,)), ops.shape(keys)[0], config, shape)
    return book | {"pixel_sites": ops.reshape(book["pixel_sites"], ops.shape(keys))}


def pixel_keys(coordinates, shape: ImageShape):
    """int32 [batch, planes, P], the keys of padded lists (see build_rulebook); NOWHERE where padded."""
    grid = Grid(shape.planes, shape.height, shape.width)
    batch, planes = ops.shape(coordinates)[:2]
    image = ops.reshape(ops.arange(batch * planes, dtype="int32"), (batch, planes, 1))
    row, column = coordinates[..., 0], coordinates[..., 1]
    return ops.where(row < 0, NOWHERE, grid.key(image, row, column))


def rulebook_of_keys(pixel_keys, values, batch, config: NetworkConfig, shape: ImageShape) -> dict:
    """build_rulebook for one flat list: keys int32 [P] (see Grid) and values float32 [P] of `batch` events.

    Raises:
        ConfigError: so many events have more pixels than there are keys.
    """
    levels = grids(config, shape)
    levels[0].check_batch(batch)
    keys = distinct(pixel_keys)
    pixel_sites = ops.where(pixel_keys < NOWHERE, find(keys, pixel_keys), ops.size(keys))
    summed = ops.segment_sum(values, pixel_sites, ops.size(keys) + 1)
    book = {"values": summed[:-1, None], "pixel_sites": pixel_sites}
    book["neighbours_first"], book["neighbours_0"] = first_neighbours(keys, levels[0])
    for depth, grid in enumerate(levels[:-1]):
        deepest = depth + 1 == len(levels) - 1
        going = keys if depth else charged(keys, summed[:-1], book["neighbours_0"], config.descend_charge)
        coarse_keys = _all_keys(levels[-1], batch) if deepest else _parent_keys(going, grid)
        if depth > 0:
            book[f"neighbours_{depth}"] = neighbours(keys, grid, BLOCK_KERNEL)
        image, row, _ = grid.place(keys)
        book[f"images_{depth}"] = ops.where(keys < NOWHERE, image, -1)
        if config.exchanges_rows_at(depth):
            book[f"rows_{depth}"] = ops.where(keys < NOWHERE, image * grid.height + row, -1)
        book[f"children_{depth}"], book[f"parents_{depth}"] = family(keys, coarse_keys, grid)
        keys = coarse_keys
    return book


def distinct(keys):
    """The different keys, sorted; NOWHERE is none of them. int32 [m] -> int32 [n]."""
    keys = ops.sort(keys)
    before = ops.concatenate([ops.full((1,), BEFORE_ALL, dtype="int32"), keys[:-1]])
    new = ops.cast((keys != before) & (keys < NOWHERE), "int32")
    position = ops.searchsorted(ops.cumsum(new), ops.arange(1, ops.sum(new) + 1, dtype="int32"))
    return take_rows(_and_nowhere(keys), position)


def find(keys, wanted):
    """Where the wanted keys stand in the sorted list `keys` [n]; n where they do not. int32, of wanted's shape."""
    position = ops.cast(ops.searchsorted(keys, wanted), "int32")
    return ops.where(take_rows(_and_nowhere(keys), position) == wanted, position, ops.size(keys))


def window(keys, corners, size: int, pitch: int):
    """The sites of the size x size windows with these upper left corners.

    Args:
        keys: int32 [n], sorted.
        corners: int32 [m], the keys of the corners.
        size: of the window.
        pitch: of the grid.

    Returns:
        int32 [m, size * size], row by row; n where there is no site.
    """
    absent, sites = ops.size(keys), []
    followed = _and_nowhere(keys)
    for row in range(size):
        first = corners + row * pitch
        position = ops.cast(ops.searchsorted(keys, first), "int32")
        for column in range(size):
            there = take_rows(followed, position) == first + column
            sites.append(ops.where(there, position, absent))
            position = position + ops.cast(there, "int32")
    # Stacked as rows and turned: in TensorFlow twice as fast as stacked as columns. Its bits turned as float32, because
    # of integers TensorFlow tells the user that oneDNN does not turn them. (Keras views where the last size is known.)
    rows = ops.view(ops.stack(sites)[..., None], "float32")[..., 0]
    return ops.view(ops.transpose(rows), "int32")


def neighbours(keys, grid: Grid, size: int):
    """The window around each site, itself in the middle. int32 [n, size * size]."""
    corners = keys - (size // 2) * (grid.pitch + 1)
    return window(keys, ops.where(keys < NOWHERE, corners, BEFORE_ALL), size, grid.pitch)


def first_neighbours(keys, grid: Grid):
    """The 5x5 and the 3x3 window around each site; the one holds the other."""
    wide = neighbours(keys, grid, FIRST_KERNEL)
    first = (FIRST_KERNEL - BLOCK_KERNEL) // 2
    square = ops.reshape(wide, (-1, FIRST_KERNEL, FIRST_KERNEL))
    middle = square[:, first : first + BLOCK_KERNEL, first : first + BLOCK_KERNEL]
    return wide, ops.reshape(middle, (-1, BLOCK_KERNEL**2))


def charged(keys, values, square, least: float):
    """The keys of the sites around which enough charge lies; NOWHERE for the others.

    Args:
        keys: int32 [n].
        values: float32 [n], in ADC.
        square: int32 [n, 9], the 3x3 window around each.
        least: the absolute values of the window's sites, summed; 0: all stay.
    """
    if not least:
        return keys
    # In float64, where the order of the sum does not matter.
    sizes = ops.cast(ops.concatenate([ops.abs(values), ops.zeros((1,), dtype=values.dtype)]), "float64")
    return ops.where(ops.sum(take_rows(sizes, square), axis=1) >= least, keys, NOWHERE)


def family(keys, coarse_keys, grid: Grid):
    """(children, parents) between a level and the next; see build_rulebook."""
    coarse = grid.coarser()
    image, row, column = coarse.place(coarse_keys)
    corners = ops.where(coarse_keys < NOWHERE, grid.key(image, 2 * row, 2 * column), BEFORE_ALL)
    children = window(keys, corners, 2, grid.pitch)

    image, row, column = grid.place(keys)
    parent = find(coarse_keys, ops.where(keys < NOWHERE, coarse.key(image, row // 2, column // 2), BEFORE_ALL))
    which, absent = 2 * (row % 2) + column % 2, ops.size(coarse_keys)
    return children, ops.where(parent < absent, 4 * parent + which, 4 * absent)


def _parent_keys(keys, grid):
    image, row, column = grid.place(keys)
    return distinct(ops.where(keys < NOWHERE, grid.coarser().key(image, row // 2, column // 2), NOWHERE))


def _all_keys(grid, batch):
    pixel = ops.arange(batch * grid.planes * grid.height * grid.width, dtype="int32")
    line = pixel // grid.width
    return grid.key(line // grid.height, line % grid.height, pixel % grid.width)


def _and_nowhere(keys):
    return ops.concatenate([keys, ops.full((1,), NOWHERE, dtype="int32")])
