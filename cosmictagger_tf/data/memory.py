"""How this process takes memory from the system.

`keep`: memory that was freed is used again instead of being given back to the system and requested again. Every event
needs a few megabytes for a few milliseconds. glibc maps blocks of that size afresh each time, and the system clears
their pages on first touch: that took as long as a quarter of reading an event. TensorFlow's from_generator makes it
worse by its own setting, so `keep` is called after that has happened.

`limited_growth`: a library that asks for more memory than its work can need is refused it.
"""

import contextlib
import ctypes
import resource
from collections.abc import Iterator
from pathlib import Path

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


@contextlib.contextmanager
def limited_growth(size: int) -> Iterator[None]:
    """Within, this process gets at most `size` more bytes of address space; no limit where there is no /proc."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(OSError, ValueError):
        in_use = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        limits = [limit for limit in before if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min([in_use + size, *limits]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
