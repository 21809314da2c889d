"""Loads loops.c, compiled where a C compiler is at hand at installation (setup.py)."""

import ctypes
import importlib.util
import logging

import numpy as np

from cosmictagger_tf.launch import launched

# What loops.c calls loops_interface.
INTERFACE = 2
log = logging.getLogger(__name__)

REBUILD = "`pip install -e .` compiles it again; where there is no compiler, remove it"

_POINTER, _SIZE, _INT32 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32


class Inflater(ctypes.Structure):
    """`struct inflater` of loops.c."""

    _fields_ = (("decompress", _POINTER), ("decompressor", _POINTER))


class PackedVoxels(ctypes.Structure):
    """`struct packed_voxels` of loops.c."""

    _fields_ = (
        ("inflater", Inflater),
        ("packed", _POINTER),
        ("sizes", _POINTER),
        ("chunks", _SIZE),
        ("chunk_rows", _SIZE),
        ("row_bytes", _SIZE),
        ("id_at", _SIZE),
        ("value_at", _SIZE),
        ("room", _POINTER),
        ("begin", _SIZE),
        ("voxels", _SIZE),
    )


_VOXELS = ctypes.POINTER(PackedVoxels)
_ARGUMENTS = {
    "split_voxels": (_VOXELS, _POINTER, _INT32, _INT32, _POINTER, _POINTER, _POINTER, _POINTER),
    "copy_values": (_VOXELS, _POINTER, _POINTER),
    "pair_coordinates": (_POINTER, _POINTER, _SIZE, _SIZE, _INT32, _POINTER),
}


def address(array: np.ndarray) -> int:
    """Where the array's first element is."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError):
        # It is read-only, empty or not contiguous: the same, seven times slower.
        return array.__array_interface__["data"][0]


def _load():
    # setuptools names what it compiles as a module of this Python.
    spec = importlib.util.find_spec("cosmictagger_tf.data._loops")
    return load(spec.origin) if spec and spec.origin else None


def load(path: str) -> ctypes.CDLL | None:
    """The compiled part at `path`; None, and a warning, where it is not this version's or machine's."""
    try:
        library = ctypes.CDLL(path)
        interface = ctypes.c_int.in_dll(library, "loops_interface").value
        if interface != INTERFACE:
            raise ValueError(f"its interface is {interface}, not {INTERFACE}")
        for name, arguments in _ARGUMENTS.items():
            getattr(library, name).argtypes = arguments
    # What ctypes raises: it cannot be loaded here; a constant, or a function, is missing.
    except (OSError, ValueError, AttributeError) as error:
        if launched().rank == 0:
            reason = str(error).removeprefix(f"{path}: ")
            line = f"{path} is not this version's ({reason}), and NumPy reads in its place, slower: {REBUILD}"
            log.warning(f"cosmictagger_tf: {line}")
        return None
    return library


# The functions of loops.c; None where it was not compiled.
LOOPS = _load()


def pair_coordinates(rows: np.ndarray, columns: np.ndarray, padding: int, out: np.ndarray):
    """Writes (row, column) of each pixel, and then `padding` to the end of `out`.

    Args:
        rows, columns: int32 [n].
        padding: for both numbers of a pair.
        out: int32 [at least n, 2], contiguous; is overwritten.
    """
    n = len(rows)
    assert len(columns) == n <= len(out) and out.flags.c_contiguous and out.dtype == np.int32
    if LOOPS and all(a.dtype == np.int32 and a.flags.c_contiguous for a in (rows, columns)):
        LOOPS.pair_coordinates(address(rows), address(columns), n, len(out), padding, address(out))
        return
    out[:n, 0], out[:n, 1], out[n:] = rows, columns, padding
