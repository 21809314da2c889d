"""Inflates zlib-compressed HDF5 chunks into memory that the caller owns, without holding Python's global lock.

Inflating is most of the work of reading. libdeflate does it in half the time of zlib; the package `deflate` carries it,
but holds the lock while it works, so its library is called directly. Without the package Python's zlib does the same.
"""

import ctypes
import threading
import zlib
from collections.abc import Sequence

import numpy as np

_local = threading.local()


def _load_libdeflate():
    # https://github.com/ebiggers/libdeflate, libdeflate.h: the interface has been the same since version 1.0.
    try:
        from deflate import _deflate

        library = ctypes.CDLL(_deflate.__file__)
        library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
        library.libdeflate_alloc_decompressor.argtypes = ()
        call = library.libdeflate_zlib_decompress
    except (ImportError, OSError, AttributeError):
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    call.restype, call.argtypes = ctypes.c_int, (pointer, pointer, size, pointer, size, pointer)
    return library


_libdeflate = _load_libdeflate()
METHOD = "libdeflate" if _libdeflate else "zlib"


def inflate_chunks(packed: np.ndarray, sizes: Sequence[int], out: np.ndarray):
    """Inflates chunks of equal inflated length into `out`.

    Args:
        packed: uint8, the compressed chunks, one after the other.
        sizes: their bytes in `packed`.
        out: uint8 [chunks, bytes of an inflated chunk], contiguous; is overwritten.

    Raises:
        ValueError: a chunk is broken, or holds more or fewer bytes than a row of `out`.
    """
    if _libdeflate:
        _inflate_libdeflate(packed, sizes, out)
    else:
        _inflate_zlib(packed, sizes, out)


def _inflate_libdeflate(packed, sizes, out):
    assert _libdeflate and out.flags.c_contiguous
    decompressor = getattr(_local, "decompressor", None)
    if decompressor is None:
        # One a thread, for as long as the process lives.
        decompressor = _local.decompressor = _libdeflate.libdeflate_alloc_decompressor()
    call, length = _libdeflate.libdeflate_zlib_decompress, out.shape[1]
    source, target = (array.__array_interface__["data"][0] for array in (packed, out))
    for size in sizes:
        # Without the last argument libdeflate accepts no other length than the one asked for.
        status = call(decompressor, source, size, target, length, None)
        if status:
            reason = {1: "it is no zlib data, or its checksum is wrong", 2: "it is too short", 3: "it is too long"}
            raise ValueError(f"a compressed chunk is broken: {reason.get(status, status)}")
        source, target = source + size, target + length


def _inflate_zlib(packed, sizes, out):
    length, start = out.shape[1], 0
    for row, size in zip(out, sizes, strict=True):
        inflater = zlib.decompressobj()
        try:
            found = inflater.decompress(packed[start : start + size], length)
            # The checksum is only looked at when the end of the stream is.
            found += inflater.decompress(inflater.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(f"a compressed chunk is broken: {error}") from None
        if len(found) != length or not inflater.eof:
            raise ValueError(f"a compressed chunk is broken: it is too {'long' if len(found) > length else 'short'}")
        row[:] = np.frombuffer(found, np.uint8)
        start += size
