"""The errors that a user can cause and mend: each is one line, naming the culprit and the way out."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

# These are not about the machine: they come from a wrong argument, such as an address in a broken file.
_OURS = {0, errno.ENOENT, errno.EBADF, errno.EINVAL, errno.EOVERFLOW, errno.EPIPE}
# What TensorFlow and HDF5 write in the text of exceptions of their own.
_IN_TEXT = [
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE),
    *(errno.EMFILE, errno.ENFILE, errno.ENXIO, errno.ENAMETOOLONG),
]


class UserError(Exception):
    """A mistake in what the user gave. The commands print its one line and exit with its status, without a traceback.

    Attributes:
        settled: whether the ranks of the job know of it, and this one is to report it.
    """

    exit_status = 2
    settled = False


class RankLost(UserError):
    """Another rank of the job is gone or hangs. Nothing is wrong with the command: given again, it resumes."""

    exit_status = 75


class StoppedElsewhere(UserError):
    """This rank stops because another one did, which itself gives the reason: nothing is printed for this one."""


class ConfigError(UserError):
    """A flag has an impossible value, or two flags contradict each other. The message names the flags."""


class WriteError(UserError):
    """A file cannot be written: the disk is full, a quota used up, a folder forbidden. What was there stays."""


class ReadError(UserError):
    """A file cannot be read: the disk, the server or the permissions refuse. Nothing is known to be wrong with it."""


class NonFiniteError(UserError):
    """The training stops because a number is not finite; the message names the step, the events and the way out."""


class DataError(UserError):
    """A file holds what cannot be read rightly.

    Args:
        file: path of the file.
        reason: what is wrong and what to do about it, without a full stop.
        entry: the entry (event) of the file, where one is to blame.
        plane: the wire plane, where one is to blame.
    """

    def __init__(self, file, reason: str, entry: int | None = None, plane: int | None = None):
        self.file, self.reason, self.entry, self.plane = str(file), reason, entry, plane
        where = [self.file]
        if entry is not None:
            where.append(f"entry {entry}")
        if plane is not None:
            where.append(f"plane {plane}")
        super().__init__(f"{', '.join(where)}: {reason}")

    def __reduce__(self):
        # Ranks send each other bad events.
        return DataError, (self.file, self.reason, self.entry, self.plane)


class MissingPackageError(UserError):
    """An optional package is not installed, or does not import. The message has its purpose and how to install it.

    Args:
        package: its name, as it is imported.
        purpose: what needs it.
        command: what installs it.
        error: of importing it.
    """

    def __init__(self, package: str, purpose: str, command: str, error: ImportError):
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        state = "is not installed" if missing else f"cannot be imported ({' '.join(str(error).split())})"
        super().__init__(f"{purpose} needs the package {package}, which {state}: run `{command}`")


def system_reason(error: BaseException) -> str | None:
    """Why the system refuses to open, read or write a file, in its words; None where an exception means something
    else, such as content that is wrong."""
    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    # Of the HDF5 library.
    stated = re.search(r"errno = (\d+),", str(error))
    number = int(stated[1]) if number is None and stated else number
    if number is not None:
        return None if number in _OURS else os.strerror(number)
    return next((os.strerror(number) for number in _IN_TEXT if os.strerror(number) in str(error)), None)


def raise_unreadable(path, error: BaseException):
    """Raises a ReadError where it was the system that refused; does nothing where the content is wrong."""
    reason = system_reason(error)
    if reason is not None:
        raise ReadError(f"{path}: cannot be read: {reason}") from None


@contextlib.contextmanager
def read_errors(path: Path | str) -> Iterator[None]:
    """Around what reads `path`: raises a ReadError where the system refuses.

    That a file is not there (FileNotFoundError, NotADirectoryError) is left to the caller, who knows what it means.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, UserError):
        raise
    except Exception as error:
        raise_unreadable(path, error)
        raise


@contextlib.contextmanager
def write_errors(path: Path | str) -> Iterator[None]:
    """Around what writes `path`: raises a WriteError of one line where the disk is full or forbids it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = os.strerror(errno.ENOENT) if isinstance(error, FileNotFoundError) else system_reason(error)
        if reason is None:
            raise
        raise WriteError(f"{path}: cannot be written: {reason}; what was written before is intact") from None
