"""Images and classes of a plane as coloured pictures, pixel by pixel."""

import numpy as np

from cosmictagger_tf.detector import ADC_THRESHOLD, CLASS_COLORS


def class_picture(classes) -> np.ndarray:
    """uint8 [height, width, 3] of class indices [height, width], in detector.CLASS_COLORS; N_CLASSES is black."""
    return _palette()[np.asarray(classes)]


def charge_picture(charge) -> np.ndarray:
    """uint8 [height, width, 3] of an image [height, width] in ADC: white where empty, darker the more charge.

    Logarithmic, over the two powers of ten below the largest charge, or below ten times the threshold.
    """
    import matplotlib

    charge = np.asarray(charge, np.float64)
    top = max(float(charge.max(initial=0)), 10 * ADC_THRESHOLD)
    level = 1 + np.log10(np.maximum(charge, 1e-9) / top) / 2
    colors = matplotlib.colormaps["viridis_r"](np.clip(level, 0, 1), bytes=True)[..., :3]
    return np.where((charge != 0)[..., None], colors, np.uint8(255))


def _palette() -> np.ndarray:
    return np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in (*CLASS_COLORS, "#000000")], np.uint8)
