"""What the machine is, and what it can do at most: the figures that others are held against."""

import os
import platform
from functools import cache
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from cosmictagger_tf import __version__
from cosmictagger_tf.measuring.clock import timed

PRODUCT_SIZE = 2048
COPIED_NUMBERS = 64 * 2**20


class Limits(NamedTuple):
    """Rates that TensorFlow reaches on this device where nothing else is in the way.

    Attributes:
        gflops: 10^9 operations a second of a product of two float32 matrices of 2048 x 2048.
        gigabytes: 10^9 bytes a second, read and written, of adding a number to 64 Mi float32.
    """

    gflops: float
    gigabytes: float

    def __str__(self) -> str:
        return f"{self.gflops:.1f} GFLOP/s in matrix products, {self.gigabytes:.1f} GB/s of memory"


@cache
def measure_limits(repeats: int = 5) -> Limits:
    """Measures them once, the fastest of `repeats`; takes about a second and 0.5 GB: after the memory was looked at."""
    square = tf.random.normal((PRODUCT_SIZE, PRODUCT_SIZE))
    product = tf.function(lambda: tf.matmul(square, square)[0, 0])
    numbers = tf.zeros(COPIED_NUMBERS)
    copied = tf.function(lambda: (numbers + 1.0)[0])
    operations, size = 2 * PRODUCT_SIZE**3, 2 * 4 * COPIED_NUMBERS
    return Limits(
        operations / timed(lambda: product().numpy(), repeats).fastest / 1e9,
        size / timed(lambda: copied().numpy(), repeats).fastest / 1e9,
    )


def describe() -> dict[str, object]:
    """Processor, cores that this process may use, memory, devices and versions, as a file has them."""
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": [tf.config.experimental.get_device_details(d).get("device_name", d.name) for d in gpus],
        "system": platform.platform(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "cosmictagger_tf": __version__,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
