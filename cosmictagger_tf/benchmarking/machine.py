"""What the machine is, and what it can do at most: the figures that others are held against."""

import os
import platform
from functools import cache
from typing import NamedTuple

import keras
from keras import ops

from cosmictagger_tf import execution
from cosmictagger_tf.benchmarking.clock import timed
from cosmictagger_tf.benchmarking.compiled import compiled, wait
from cosmictagger_tf.launch import usable_cores

# Rows of the matrices and numbers of the list, without a GPU and with one, which is not busy with fewer.
PRODUCT_SIZE = (2048, 8192)
COPIED_NUMBERS = (64 * 2**20, 512 * 2**20)


class Limits(NamedTuple):
    """Rates that the backend reaches on this device where nothing else is in the way.

    Attributes:
        gflops: 10^9 operations a second of a product of two square matrices of PRODUCT_SIZE, in the precision that the
            network computes in (float32 on a GPU as the backend has it, which may be in TF32).
        gigabytes: 10^9 bytes a second, read and written, of adding a number to COPIED_NUMBERS float32.
    """

    gflops: float
    gigabytes: float

    def __str__(self) -> str:
        return f"{self.gflops:.1f} GFLOP/s in matrix products, {self.gigabytes:.1f} GB/s of memory"


@cache
def measure_limits(repeats: int = 5) -> Limits:
    """Measures them once, the fastest of `repeats`; takes about a second and 0.5 GB: after the memory was looked at."""
    size, count = (sizes[bool(execution.accelerators())] for sizes in (PRODUCT_SIZE, COPIED_NUMBERS))
    square = keras.random.normal((size, size), dtype=keras.config.dtype_policy().compute_dtype)
    numbers = ops.zeros((count,), dtype="float32")
    product = compiled(lambda a: ops.matmul(a, a))
    copied = compiled(lambda a: a + 1.0)

    multiplying = timed(lambda: wait(product(square)), repeats).fastest
    copying = timed(lambda: wait(copied(numbers)), repeats).fastest
    return Limits(2 * size**3 / multiplying / 1e9, 8 * count / copying / 1e9)


def describe() -> dict[str, object]:
    """Processor, cores that this process may use, memory, devices and versions, as a file has them."""
    versions = execution.describe()["versions"]
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": execution.accelerators(),
        "system": platform.platform(),
        **versions,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
