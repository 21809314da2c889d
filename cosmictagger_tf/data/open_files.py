"""Files of a data set, of which no more are open at a time than the system lets a process have."""

import contextlib
import resource
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.tables import CHANGED
from cosmictagger_tf.errors import DataError, read_errors

# Open files that are left to everything else in the process, and what the larcv library takes for one of a data set.
RESERVED, A_FILE = 256, 2
FEWEST, MOST = 4, 1 << 16

# Of all data sets together, since the limit is the process's. The file that was used last is the last.
_open: "weakref.WeakKeyDictionary[OpenFile, None]" = weakref.WeakKeyDictionary()
_lock = threading.RLock()


class OpenFile:
    """A file of a data set; a FileReader (see dataset.py). Others may close it, and then it is opened again.

    Args:
        path: the file.
        open_it: opens it; gives another FileReader.

    Raises:
        DataError, ReadError: it cannot be opened; later also: another file is in its place.
    """

    def __init__(self, path: str, open_it: Callable):
        self.path, self.open_it = path, open_it
        self.file: Any = None
        self.users = 0
        self.identity: Any = None
        with self.used() as file:
            self.identity = file.identity
            self.shape, self.has_labels, self.entries = file.shape, file.has_labels, len(file)
            self.pixel_size, self.truth_sources = file.pixel_size, file.truth_sources

    def __len__(self) -> int:
        return self.entries

    @contextlib.contextmanager
    def used(self) -> Iterator:
        """The open file, which stays open within; from several threads. Raises ReadError where the system refuses."""
        with _lock:
            if self.file is None:
                _make_room()
                self._open()
            _open.pop(self, None)
            _open[self] = None
            self.users += 1
        try:
            with read_errors(self.path):
                yield self.file
        finally:
            with _lock:
                self.users -= 1

    def _open(self):
        file = self.open_it(self.path)
        if self.identity not in (None, file.identity):
            file.close()
            raise DataError(self.path, CHANGED)
        self.file = file

    def read(self, entry: int, number: int | None = None) -> Event:
        """An entry of this file, as the entry `number` of a data set; raises DataError or ReadError."""
        with self.used() as file:
            return file.read(entry, number)

    def event_id(self, entry: int) -> tuple[int, int, int]:
        with self.used() as file:
            return file.event_id(entry)

    def content(self, first: int, count: int) -> Iterator[list[np.ndarray]]:
        with self.used() as file:
            yield from file.content(first, count)

    def check_unchanged(self) -> None:
        """Raises DataError where the file was written to, or replaced, since it was opened."""
        with self.used() as file:
            file.check_unchanged()

    def close(self) -> None:
        with _lock:
            _open.pop(self, None)
            if self.file is not None:
                self.file.close()
            self.file = None


def _make_room():
    idle = [file for file in list(_open) if not file.users]
    while len(_open) >= most_open() and idle:
        idle.pop(0).close()


def most_open() -> int:
    """How many files of data sets may be open; raises the process's own limit as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS names limits that it does not allow.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return MOST if soft == resource.RLIM_INFINITY else max(FEWEST, (soft - RESERVED) // A_FILE)
