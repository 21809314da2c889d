"""An image without the pixels that are called cosmic or background.

The fringe of a neutrino are the pixels called background within FRINGE_ROWS rows and FRINGE_COLUMNS columns of one that
is called neutrino, and not that near to one that is called cosmic: its faint outline, which no label counts as its own.
"""

import numpy as np

from cosmictagger_tf.data.event import PlanePixels
from cosmictagger_tf.data.transforms import at_stored_pixels
from cosmictagger_tf.detector import BACKGROUND, COSMIC, NEUTRINO, ImageShape

# Of the file's pixels. Charge spreads further along the drift time, in which a wire's response is long.
FRINGE_ROWS, FRINGE_COLUMNS = 6, 2


def cleaned(
    pixels: PlanePixels, called: np.ndarray, downsample: int, shape: ImageShape, with_fringe: bool
) -> PlanePixels:
    """The pixels of a plane that stay, with their own charge.

    Args:
        pixels: the stored pixels of the image, at full resolution.
        called: int8 [blocks], the class of each pixel of the network's image, as downsample_event orders them.
        downsample: of the network.
        shape: of the image, at full resolution.
        with_fringe: the neutrino's fringe stays, too.
    """
    (spread,) = at_stored_pixels(pixels, called[:, None], downsample, shape)
    stays = spread.values == NEUTRINO
    if with_fringe:
        near, near_cosmic = (_near(pixels, spread.values == c) for c in (NEUTRINO, COSMIC))
        stays |= (spread.values == BACKGROUND) & near & ~near_cosmic
    return PlanePixels(pixels.rows[stays], pixels.columns[stays], pixels.values[stays])


def _near(pixels, chosen) -> np.ndarray:
    # Which pixels are within the fringe's reach of one of the chosen ones.
    rows, columns = pixels.rows[chosen].astype(np.int64), pixels.columns[chosen].astype(np.int64)
    reach = np.mgrid[-FRINGE_ROWS : FRINGE_ROWS + 1, -FRINGE_COLUMNS : FRINGE_COLUMNS + 1].reshape(2, -1, 1)
    around = _numbers(rows + reach[0], columns + reach[1])
    return np.isin(_numbers(pixels.rows.astype(np.int64), pixels.columns.astype(np.int64)), around)


def _numbers(rows, columns):
    return (rows << 32) + columns
