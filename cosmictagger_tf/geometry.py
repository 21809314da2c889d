"""SBND's geometry: where a point of the detector lies on each plane's image.

Coordinates in cm: x along the drift, the cathode at 0 and the anodes at -200 and 200; y up, -200 to 200; z along the
beam, 0 to 500 (SBND's active volume, arXiv:1503.01520). Rows count drift time over both TPCs, 640 each, the cathode in
the middle. Wires have a pitch of 3 mm, vertical on the collection plane (2) and at +60 or -60 degrees on the induction
planes (0, 1). In the detector the two induction layers swap their angles from one TPC to the other. The images are
sorted by angle: the neutrino vertices of the real files lie where these functions put them only if plane 0 has one
angle, and plane 1 the other, in both TPCs. What swaps in the images is the layer, and with it the noise (noise.py).
The columns in use were measured on real files: 31 to 2016 on planes 0 and 1, 191 to 1856 on plane 2.
"""

import numpy as np

from cosmictagger_tf.detector import SBND_TICKS, SBND_WIRES, ImageShape

HALF_X, HALF_Y, LENGTH_Z = 200.0, 200.0, 500.0
LOWER = np.array([-HALF_X, -HALF_Y, 0.0])
UPPER = np.array([HALF_X, HALF_Y, LENGTH_Z])
PITCH = 0.3
WIRE_ANGLE = np.pi / 3
FIRST_COLUMN, LAST_COLUMN = (31, 31, 191), (2016, 2016, 1856)
COLLECTION = 2
# Towards higher columns the wires of plane 0 lie lower, those of plane 1 higher.
SLANT = (-1.0, 1.0)
ROWS_PER_TPC = SBND_TICKS // 2
CM_PER_ROW = HALF_X / ROWS_PER_TPC
# cm/us at 0.5 kV/cm and 87 K (arXiv:2008.09765, figure of drift velocity).
DRIFT_VELOCITY = 0.16
# Height and width of a pixel of SBND's images, cm.
PIXEL_CM = (CM_PER_ROW, PITCH)
# Rows: what is called within a TPC's window is so in 32-bit numbers, too.
WITHIN = 1e-3


def unknown(shape: ImageShape) -> str | None:
    """Why images of a file say nothing about points in the detector; None where they do.

    Args:
        shape: of the file's images, not of downsampled ones.
    """
    if shape == ImageShape():
        return None
    return f"where {shape} lie in the detector is not known, as it is of SBND's {ImageShape()}"


def drift_rows(x: np.ndarray) -> np.ndarray:
    """Rows (float) that charge from x (cm) drifts: 0 at the anode of its own TPC, 640 at the cathode."""
    return (HALF_X - np.abs(x)) / CM_PER_ROW


def rows(drift: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The row (float) of a drift in rows; `right`: in the TPC of x > 0, whose time axis is mirrored at the cathode."""
    return np.where(right, SBND_TICKS - drift, drift)


def columns(y: np.ndarray, z: np.ndarray, plane: int) -> np.ndarray:
    """The column (float) on a plane of points in cm."""
    if plane == COLLECTION:
        return FIRST_COLUMN[plane] + z / PITCH
    across = z * np.cos(WIRE_ANGLE) + (HALF_Y + SLANT[plane] * y) * np.sin(WIRE_ANGLE)
    return FIRST_COLUMN[plane] + across / PITCH


def project(point: np.ndarray, time: float) -> np.ndarray:
    """Where a point lies in the images of SBND's shape: its apparent place.

    Args:
        point: float64 [3], x, y, z in cm.
        time: us after the readout's trigger. The charge of a late particle arrives late, and so seems to come from
            nearer to the cathode. What would lie beyond the cathode is put on it, where its TPC's readout window ends.

    Returns:
        float64 [planes, 2], (row, column), whose whole parts are the pixel.
    """
    x, y, z = np.asarray(point, float)
    drift = drift_rows(x) + time * DRIFT_VELOCITY / CM_PER_ROW
    row = rows(np.clip(drift, 0.0, ROWS_PER_TPC - WITHIN), x > 0)
    # A drift of 0 on the right is where the image ends.
    row = np.minimum(row, SBND_TICKS - WITHIN)
    # Charge a little beyond the last wire goes to it.
    ends = zip(FIRST_COLUMN, LAST_COLUMN, strict=True)
    return np.array([(row, np.clip(columns(y, z, p), *bounds)) for p, bounds in enumerate(ends)])


def apparent(points: np.ndarray, times: np.ndarray | float) -> np.ndarray:
    """Where points seem to be that light up late: nearer to the cathode, as far as it. See `project`.

    The same with a negative time takes a mean time off again: towards the anode, as far as it.

    Args:
        points: float64 [..., 3], x, y, z in cm.
        times: [...], us after the readout's trigger.

    Returns:
        float64 [..., 3], cm.
    """
    points = np.array(points, float)
    x = points[..., 0]
    distance = np.clip(np.abs(x) - np.asarray(times) * DRIFT_VELOCITY, 0.0, HALF_X)
    points[..., 0] = np.where(x > 0, distance, -distance)
    return points


def inside(points: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Whether points [n, 3] in cm lie in the active volume, or within `margin` cm of it."""
    return np.all((points > LOWER - margin) & (points < UPPER + margin), axis=-1)


def crossing(point: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
    """Where a straight line enters and leaves the active volume, as distances (cm) from `point`; enter > leave: never.

    The slab method: the line is inside from the last of its entries into the three pairs of faces to the first exit.
    """
    with np.errstate(divide="ignore"):
        inverse = 1.0 / direction
    one, other = (LOWER - point) * inverse, (UPPER - point) * inverse
    return float(np.minimum(one, other).max()), float(np.maximum(one, other).min())


def pixel_numbers(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """int64 flat index, row * 2048 + column, of float rows and columns."""
    return np.floor(row).astype(np.int64) * SBND_WIRES + np.floor(column).astype(np.int64)
