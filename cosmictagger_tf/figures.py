"""Figures for files: with matplotlib's own defaults and without a window, whatever the user's settings are."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure


@contextlib.contextmanager
def drawing(style: dict[str, Any]) -> Iterator[None]:
    """Around, or as a decorator of, what draws or saves a figure: matplotlib's defaults and `style`.

    Args:
        style: what differs from the defaults, by names of matplotlib's rcParams.
    """
    with matplotlib.style.context(["default", style]), warnings.catch_warnings():
        # Such as a character of a file's name that no font has.
        warnings.simplefilter("ignore")
        yield


def new_figure(rows: int, columns: int, size: tuple[float, float], shared: bool = False) -> tuple[Figure, np.ndarray]:
    """A figure that belongs to no window, and its axes [rows, columns].

    Args:
        size: width and height, inches.
        shared: whether all share their axes.
    """
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
