"""The few places of a plane at which a vertex head puts the vertex, out of its many cells.

Cells near a vertex tell of the same one, each with its own idea of where it is; what lies close together is one
candidate. Which candidate is chosen, the other planes decide (vertex_fit.best_candidates).
"""

import numpy as np

from cosmictagger_tf.detector import ImageShape

# Of each plane as many candidates are kept, of as many of its best cells.
CANDIDATES, CELLS = 5, 256
# Places within so many sides of a cell are one candidate: 4 pixels of cells of 8.
MERGED = 0.5


def cell_sides(cells: np.ndarray, shape: ImageShape) -> np.ndarray:
    """Height and width of a cell in the file's pixels, float64 [2]; the cells divide the image at any resolution.

    Args:
        cells: [..., planes, rows, columns, 3], see heads.with_heads.
        shape: of the file's images.
    """
    return np.array((shape.height, shape.width)) / cells.shape[-3:-1]


def vertex_candidates(cells: np.ndarray, shape: ImageShape) -> tuple[np.ndarray, np.ndarray]:
    """The candidates of each plane, the best first.

    Args:
        cells: float [batch, planes, rows, columns, 3], see heads.with_heads.
        shape: of the file's images.

    Returns:
        float64 [batch, planes, CANDIDATES, 2], (row, column) in pixels of the file, the mean of its cells' places by
        their scores, within the image; and float64 [batch, planes, CANDIDATES], the greatest of their scores. NaN where
        a plane has fewer, as a sparse network's empty plane has none.
    """
    batch, planes = cells.shape[:2]
    sides = cell_sides(cells, shape)
    places, scores = np.full((batch, planes, CANDIDATES, 2), np.nan), np.full((batch, planes, CANDIDATES), np.nan)
    for image in np.ndindex(batch, planes):
        best, their_scores = _best_cells(cells[image], sides)
        for number, (place, score) in enumerate(_merged(best, their_scores, MERGED * sides.max())):
            places[image][number], scores[image][number] = place, score
    return within(places, shape), scores


def within(places: np.ndarray, shape: ImageShape) -> np.ndarray:
    """Places (row, column) [..., 2] beyond the image's edge are put on it, so that their pixel is one of the image."""
    return np.clip(places, 0.0, np.nextafter((shape.height, shape.width), 0.0))


def _best_cells(cells, sides):
    # Places [n, 2] in pixels and scores [n], float64, the greatest score first.
    scores = cells[..., 0].ravel().astype(np.float64)
    with_score = np.flatnonzero(scores > 0)
    best = with_score[np.argsort(-scores[with_score], kind="stable")[:CELLS]]
    first = np.stack(np.unravel_index(best, cells.shape[:2]), axis=-1)
    return (first + cells[..., 1:].reshape(-1, 2)[best]) * sides, scores[best]


def _merged(places, scores, distance):
    left = np.ones(len(scores), bool)
    for _ in range(CANDIDATES):
        if not left.any():
            return
        best = left.argmax()
        near = left & (np.linalg.norm(places - places[best], axis=-1) <= distance)
        yield np.average(places[near], axis=0, weights=scores[near]), scores[best]
        left &= ~near
