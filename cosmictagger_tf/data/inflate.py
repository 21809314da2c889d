"""Inflates zlib-compressed HDF5 chunks into memory that the caller owns, without holding Python's global lock.

Inflating is most of the work of reading. libdeflate does it in half the time of zlib; the package `deflate` carries it,
but holds the lock while it works, so its library is called directly. Without libdeflate Python's zlib does the same.
"""

import ctypes
import threading
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from cosmictagger_tf.data.loops import Inflater, address

_local = threading.local()
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
# libdeflate.h, enum libdeflate_result.
_REASONS = {1: "it is no zlib data, or its checksum is wrong", 2: "it is too short", 3: "it is too long"}


def inflate_chunks(packed: np.ndarray, sizes: Sequence[int], out: np.ndarray):
    """Inflates chunks of equal inflated length into `out`.

    Args:
        packed: uint8, the compressed chunks, one after the other.
        sizes: their bytes in `packed`.
        out: uint8 [chunks, bytes of an inflated chunk], contiguous; is overwritten.

    Raises:
        ValueError: a chunk is broken, or holds more or fewer bytes than a row of `out`.
    """
    assert packed.flags.c_contiguous and out.flags.c_contiguous
    assert len(sizes) == len(out) and sum(sizes) <= len(packed)
    _inflate(packed, sizes, out)


def _load_libdeflate():
    # https://github.com/ebiggers/libdeflate, libdeflate.h: the interface has been the same since version 1.0.
    try:
        from deflate import _deflate

        library = ctypes.CDLL(_deflate.__file__)
        library.libdeflate_alloc_decompressor.restype = _POINTER
        library.libdeflate_alloc_decompressor.argtypes = ()
        call = library.libdeflate_zlib_decompress
    except (ImportError, OSError, AttributeError):
        return None
    call.restype, call.argtypes = ctypes.c_int, (_POINTER, _POINTER, _SIZE, _POINTER, _SIZE, _POINTER)
    library.libdeflate_free_decompressor.restype, library.libdeflate_free_decompressor.argtypes = None, (_POINTER,)
    return library


_libdeflate = _load_libdeflate()


def inflater() -> Inflater | None:
    """libdeflate for this thread, as loops.c takes it; None without it."""
    return _own_inflater() if _libdeflate else None


class _OwnInflater(Inflater):
    """libdeflate with one decompressor, which is freed with it."""

    def __init__(self):
        decompress = ctypes.cast(_libdeflate.libdeflate_zlib_decompress, _POINTER)
        super().__init__(decompress, _libdeflate.libdeflate_alloc_decompressor())
        self.free = _libdeflate.libdeflate_free_decompressor

    def __del__(self):
        self.free(self.decompressor)


def _own_inflater() -> Inflater:
    # One a thread, for as long as the thread lives.
    if not hasattr(_local, "inflater"):
        _local.inflater = _OwnInflater()
    return _local.inflater


def _with_libdeflate(packed, sizes, out):
    call, decompressor, length = _libdeflate.libdeflate_zlib_decompress, _own_inflater().decompressor, out.shape[1]
    source, target = address(packed), address(out)
    for size in sizes:
        # Without the last argument libdeflate accepts no other length than the one asked for.
        status = call(decompressor, source, size, target, length, None)
        if status:
            raise ValueError(f"a compressed chunk is broken: {_REASONS.get(status, status)}")
        source, target = source + size, target + length


def _with_zlib(packed, sizes, out):
    length, start = out.shape[1], 0
    for row, size in zip(out, sizes, strict=True):
        inflater = zlib.decompressobj()
        try:
            content = inflater.decompress(packed[start : start + size], length)
            # The checksum is only looked at when the end of the stream is.
            content += inflater.decompress(inflater.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(f"a compressed chunk is broken: {error}") from None
        if len(content) != length or not inflater.eof:
            raise ValueError(f"a compressed chunk is broken: it is too {'long' if len(content) > length else 'short'}")
        row[:] = np.frombuffer(content, np.uint8)
        start += size


# The methods that this machine has, the quickest first.
METHODS: dict[str, Callable] = {
    **({"libdeflate": _with_libdeflate} if _libdeflate else {}),
    "zlib": _with_zlib,
}
_inflate = next(iter(METHODS.values()))
