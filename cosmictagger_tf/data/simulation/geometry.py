"""SBND's geometry: where a point of the detector lies on each plane's image.

Coordinates in cm: x along the drift, the cathode at 0 and the anodes at -200 and 200; y up, -200 to 200; z along the
beam, 0 to 500 (SBND's active volume, arXiv:1503.01520). Rows count drift time over both TPCs, 640 each, the cathode in
the middle. Wires have a pitch of 3 mm, vertical on the collection plane (2) and at +60 or -60 degrees on the induction
planes (0, 1), which swap their angle from one TPC to the other. The columns in use were measured on real files:
31 to 2016 on planes 0 and 1, 191 to 1856 on plane 2.
"""

import numpy as np

from cosmictagger_tf.detector import SBND_TICKS

HALF_X, HALF_Y, LENGTH_Z = 200.0, 200.0, 500.0
PITCH = 0.3
WIRE_ANGLE = np.pi / 3
FIRST_COLUMN = (31, 31, 191)
COLLECTION = 2
ROWS_PER_TPC = SBND_TICKS // 2


def rows(x: np.ndarray) -> np.ndarray:
    """The row (float) of a drift coordinate in cm; the anodes are rows 0 and 1280."""
    return ROWS_PER_TPC * (1.0 + x / HALF_X)


def columns(x: np.ndarray, y: np.ndarray, z: np.ndarray, plane: int) -> np.ndarray:
    """The column (float) on a plane of points in cm; x chooses the TPC, and with it the wires' angle."""
    if plane == COLLECTION:
        return FIRST_COLUMN[plane] + z / PITCH
    sign = np.where((x < 0) == (plane == 0), 1.0, -1.0)
    across = z * np.cos(WIRE_ANGLE) + (HALF_Y + sign * y) * np.sin(WIRE_ANGLE)
    return FIRST_COLUMN[plane] + across / PITCH


def inside(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Whether points in cm lie in the active volume."""
    return (np.abs(x) < HALF_X) & (np.abs(y) < HALF_Y) & (z > 0) & (z < LENGTH_Z)
