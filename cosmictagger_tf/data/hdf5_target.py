"""A file for HDF5 to write to, which outlives a disk that is full.

HDF5 1.14 continues after a failed write and then crashes, at the latest when it closes the file. So h5py is given this
object instead of a path: it takes whatever is written, and `check` raises the error.
"""

import io
import os
from pathlib import Path


class Hdf5Target(io.RawIOBase):
    """A new file, for h5py.File(target, "w"). Once a write has failed, what follows is kept in memory.

    Args:
        path: the file; what is there is replaced.
    """

    def __init__(self, path: Path):
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self.position = 0
        self.error: BaseException | None = None
        # (position, bytes) of what the disk did not take.
        self.kept: list[tuple[int, bytes]] = []

    def check(self):
        """Raises the first error of a write."""
        if self.error is not None:
            raise self.error

    def write(self, data) -> int:
        """Writes all of the bytes, or keeps them; never fails."""
        data, done = memoryview(data), 0
        # Of a signal's handler, too, which may raise anywhere.
        try:
            while self.error is None and done < len(data):
                done += os.pwrite(self.descriptor, data[done:], self.position + done)
        except BaseException as error:
            self.error = error
        if done < len(data):
            self.kept.append((self.position + done, bytes(data[done:])))
        self.position += len(data)
        return len(data)

    def readinto(self, buffer) -> int:
        view, first = memoryview(buffer), self.position
        view[:] = bytes(len(view))
        try:
            os.preadv(self.descriptor, [view], first)
        except BaseException as error:
            self.error = self.error or error
        for at, data in self.kept:
            begin, end = max(first, at), min(first + len(view), at + len(data))
            if begin < end:
                view[begin - first : end - first] = data[begin - at : end - at]
        self.position += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self._size()}[whence]
        self.position = base + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def _size(self) -> int:
        return max([os.fstat(self.descriptor).st_size, *(at + len(data) for at, data in self.kept)])

    def truncate(self, size: int | None = None) -> int:
        size = self.position if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self.descriptor, size)
        except BaseException as error:
            self.error = error
        return size

    def close(self):
        """Closes the file; raises the first error of a write, or what the system reports now."""
        if not self.closed:
            super().close()
            os.close(self.descriptor)
            self.check()
