"""Inflates zlib-compressed chunks, with Intel's ISA-L where the package isal is installed (about twice as fast)."""

import zlib

try:
    from isal import isal_zlib as _zlib
except ImportError:
    _zlib = zlib


def inflate(compressed: bytes, size: int) -> bytes:
    """The `size` bytes that a chunk holds.

    Raises:
        ValueError: the chunk is broken, or holds more or fewer bytes. Never allocates more than `size`.
    """
    try:
        found = _zlib.decompressobj().decompress(compressed, size)
    except (zlib.error, _zlib.error) as error:
        raise ValueError(f"a compressed chunk is broken ({error})") from None
    if len(found) != size:
        raise ValueError(f"a compressed chunk holds {len(found)} bytes instead of {size}")
    return found
