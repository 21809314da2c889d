"""Files that are either complete or absent: written beside, flushed to the disk, renamed into place."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from cosmictagger_tf.errors import ConfigError, WriteError

# Beside a file or folder that is being written by a process: .<name>.<process>.part, and .old for what it replaces.
# After it, the ending that some libraries want.
LEFTOVER = re.compile(r"\.(.+)\.(\d+)\.(part|old)(\.[a-z]+)?")
# Seconds in which a process that was killed a moment ago may still hold its lock.
PATIENCE = 3.0
FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded", errno.EFBIG: "File too large"}
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ENOTDIR)


@contextlib.contextmanager
def replaced_file(path: Path, ending: str = "") -> Iterator[Path]:
    """Yields a path to write to; on success it takes the place of `path`, on an error it is removed.

    Args:
        ending: what its name must end with for the library that writes it, such as ".keras".

    Raises:
        WriteError: the disk is full, or forbids it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part{ending}")
    try:
        with write_errors(path):
            yield beside
            flush(beside)
            os.replace(beside, path)
            flush(path.parent)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Like replaced_file, for a folder of plain files; an existing folder of that name is replaced."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with write_errors(path):
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            yield beside
            for file in beside.rglob("*"):
                flush(file)
            flush(beside)
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            if path.exists():
                os.replace(path, old)
            os.replace(beside, path)
            flush(path.parent)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Around what writes `path`: raises a WriteError of one line where the disk is full or forbids it."""
    try:
        yield
    except Exception as error:
        reason = write_failure(error)
        if reason is None:
            raise
        raise WriteError(f"{path}: cannot be written: {reason}; what was written before is intact") from None


def write_failure(error: BaseException) -> str | None:
    """What the disk has against being written, in its words; None where an exception means something else.

    The HDF5 library and TensorFlow say it in the text of exceptions of their own.
    """
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and number in {*FULL, *FORBIDDEN}:
        return os.strerror(number)
    text = str(error)
    found = [reason for number, reason in FULL.items() if f"errno = {number}," in text or reason in text]
    return found[0] if found else None


def tidy(folder: Path, names: tuple[str, ...] = (), shared: bool = False):
    """Removes what writers that were killed left in a folder; what was being replaced is put back.

    Args:
        folder: where they wrote.
        names: look after these files and folders only; () = all.
        shared: others may be writing there now, so that only what processes left that run no more on this machine goes;
            False: nobody is.
    """
    for left in list(folder.iterdir()) if folder.is_dir() else []:
        found = LEFTOVER.fullmatch(left.name)
        if not found or (names and found[1] not in names) or (shared and _runs(int(found[2]))):
            continue
        if found[3] == "old" and not (folder / found[1]).exists():
            os.replace(left, folder / found[1])
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@contextlib.contextmanager
def locked(folder: Path, busy: str, say=print) -> Iterator[None]:
    """Keeps a folder, by the file .lock in it, from every other process that asks for it in the same way.

    The system frees the lock when the process ends, however it ends. The folder may be removed within.

    Args:
        folder: is made where there is none.
        busy: what the other one does, and the way out.
        say: is told where the file system has no locks.

    Raises:
        ConfigError: another process has the lock; the message says which.
    """
    until = time.monotonic() + PATIENCE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        # Unbuffered: on a full disk closing it must not fail again.
        with open(folder / ".lock", "a+b", buffering=0) as file:
            # The holder before may have removed the folder in between.
            if _take_lock(file, say) and _is_at(file, folder / ".lock"):
                with write_errors(folder):
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
                yield
                return
            if time.monotonic() > until:
                file.seek(0)
                holder = file.read(200).decode(errors="replace").strip() or "another process"
                raise ConfigError(f"{folder}: {holder} {busy}")
        time.sleep(0.1)


def _is_at(file, path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _take_lock(file, say) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        say(f"{file.name}: cannot be locked here ({error.strerror}): take care that only one process uses this folder")
    return True


def make_folder(path: Path, flag: str):
    """Makes a folder and those above it; raises ConfigError, naming the flag that asked for it, where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}.writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--{flag}: cannot write to {path}: {error.strerror}") from None


def make_place(path: Path, flag: str):
    """Makes the folder of a file that will be written; raises ConfigError, naming the flag, where it cannot be."""
    make_folder(path.parent, flag)
    if path.is_dir():
        raise ConfigError(f"--{flag}: {path} is a folder; give another name")


def flush(path: Path):
    """Makes what was written to a file or folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: dict):
    """Writes a JSON file that is either complete or absent."""
    with replaced_file(path) as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
