"""Memory that was freed is used again instead of being given back to the system and requested again.

Every event needs a few megabytes for a few milliseconds. glibc maps blocks of that size afresh each time, and the
system clears their pages on first touch: that took as long as a quarter of reading an event. TensorFlow's
from_generator makes it worse by its own setting, so `keep` is called after that has happened.
"""

import contextlib
import ctypes

# malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# The largest block that glibc lets come from its heap, and how much free memory at the heap's end is kept.
_LARGEST_BLOCK = 32 << 20
_KEPT = 256 << 20


def keep():
    """Sets glibc's malloc so for this process; elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _KEPT)
