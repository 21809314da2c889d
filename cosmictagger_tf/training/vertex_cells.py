"""Where vertices are among the cells of a vertex head, and back: targets, and predictions.

A vertex is a point (row, column) of each plane's image, in pixels of the network's images: pixel 5 reaches from 5.0 to
6.0. On planes where it is outside the image both are negative. A cell is a square of pixels; see networks/heads.py.
"""

from typing import Any, NamedTuple

from keras import ops

from cosmictagger_tf.backend import take_rows

# How far, in cells, a vertex is looked for around it; and a place that is far from every cell.
NEAR, FAR = 3.0, -1e4


class VertexTargets(NamedTuple):
    """What the vertex head should give; V is the number of vertices of an event, padded.

    Attributes:
        detection: float32 [batch, planes, rows, columns], 1 in the cells of vertices, else 0.
        there: bool [batch, V, planes], whether a vertex is in an image.
        cells: int32 [batch, V, planes], the number of its cell, counted row by row; 0 where not there.
        offsets: float32 [batch, V, planes, 2], from the first row and column of that cell, in cells.
    """

    detection: Any
    there: Any
    cells: Any
    offsets: Any


def vertex_targets(vertices, rows: int, columns: int, cell: float) -> VertexTargets:
    """The targets of vertices.

    Args:
        vertices: float32 [batch, V, planes, 2], see above.
        rows, columns: of cells in an image.
        cell: pixels of a cell's side.
    """
    places = vertices / cell
    first = ops.floor(places)
    there = ops.all((places >= 0) & (first < ops.convert_to_tensor([rows, columns], "float32")), axis=-1)
    row, column = (ops.where(there, ops.cast(first[..., axis], "int32"), 0) for axis in (0, 1))
    in_row = ops.one_hot(row, rows, dtype="float32") * ops.cast(there, "float32")[..., None]
    in_column = ops.one_hot(column, columns, dtype="float32")
    # Where two vertices share a cell it counts once.
    detection = ops.minimum(ops.einsum("bvpr,bvpc->bprc", in_row, in_column), 1.0)
    return VertexTargets(detection, there, row * columns + column, places - first)


class NearVertices(NamedTuple):
    """What the vertex head of sites should give.

    Attributes:
        heat: float32 [batch, planes, rows, columns], exp(-d^2 / 2) of the distance d, in cells, from the middle of a
            cell to the nearest vertex in its image, as far as NEAR cells; 0 beyond.
        offsets: float32 [batch, planes, rows, columns, 2], from its first row and column to that vertex, in cells; of
            no use where the heat is 0.
    """

    heat: Any
    offsets: Any


def near_vertices(vertices, rows: int, columns: int, cell: float) -> NearVertices:
    """The targets of the vertex head of sites; arguments as of vertex_targets."""
    targets = vertex_targets(vertices, rows, columns, cell)
    places = ops.where(targets.there[..., None], vertices / cell, FAR)
    down, along = (ops.cast(ops.arange(size), "float32") for size in (rows, columns))
    # [batch, V, planes, rows, 1] and [batch, V, planes, 1, columns].
    offset_rows = (places[..., 0:1] - down)[..., None]
    offset_columns = (places[..., 1:2] - along)[..., None, :]
    squares = ops.square(offset_rows - 0.5) + ops.square(offset_columns - 0.5)
    square = ops.min(squares, axis=1)
    nearest = ops.cast(squares <= square[:, None], "float32")
    # Two that are equally near: the place between them.
    nearest = nearest / ops.sum(nearest, axis=1, keepdims=True)
    offsets = [ops.sum(nearest * each, axis=1) for each in (offset_rows, offset_columns)]
    return NearVertices(ops.where(square <= NEAR**2, ops.exp(-square / 2), 0.0), ops.stack(offsets, axis=-1))


def at_cells(vertex, cells):
    """What a vertex head gives of some cells: float32 [batch, V, planes, 3].

    Args:
        vertex: float32 [batch, planes, rows, columns, 3], see heads.with_heads.
        cells: int32 [batch, V, planes], their numbers, counted row by row.
    """
    planes, rows, columns, numbers = vertex.shape[1:]
    batch, most = ops.shape(cells)[:2]
    image = ops.reshape(ops.arange(batch * planes, dtype="int32"), (-1, 1, planes))
    places = ops.reshape(cells + image * (rows * columns), (-1,))
    return ops.reshape(take_rows(ops.reshape(vertex, (-1, numbers)), places), (-1, most, planes, numbers))


def greatest_cells(detection):
    """The number of the cell with the greatest value, counted row by row: [batch, planes, rows, columns] -> int32."""
    planes, rows, columns = detection.shape[1:]
    return ops.cast(ops.argmax(ops.reshape(detection, (-1, planes, rows * columns)), axis=-1), "int32")


def predicted_vertices(vertex, cell: float):
    """The vertex of each plane: the cell whose probability is greatest, and the offset in it.

    Args:
        vertex: float32 [batch, planes, rows, columns, 3], see heads.with_heads.
        cell: pixels of a cell's side.

    Returns:
        float32 [batch, planes, 2], in pixels, and the cells' probability [batch, planes].
    """
    columns, best = vertex.shape[3], greatest_cells(vertex[..., 0])
    chosen = at_cells(vertex, best[:, None])[:, 0]
    first = ops.cast(ops.stack([best // columns, best % columns], axis=-1), "float32")
    return cell * (first + chosen[..., 1:]), chosen[..., 0]
