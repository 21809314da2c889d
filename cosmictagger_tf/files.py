"""Files that are either complete or absent: written beside, flushed to the disk, renamed into place."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cosmictagger_tf.errors import ConfigError, read_errors, write_errors

log = logging.getLogger(__name__)

# Beside a file or folder that is being written: .<name>.<process>@<host>.part, and .old for what it replaces. After it,
# the ending that some libraries want. Earlier versions did not name the host.
LEFTOVER = re.compile(r"\.(.+)\.(\d+)(?:@([\w.-]+))?\.(part|old)(\.[a-z]+)?")
HOST = re.sub(r"[^\w.-]", "_", socket.gethostname())[:40]
# Bytes of a name that leave room, in the 255 that file systems take, for what is put around it.
LONGEST_NAME = 180
# Seconds in which a process that was killed a moment ago may still hold its lock.
PATIENCE = 3.0
KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


@contextlib.contextmanager
def replaced_file(path: Path, ending: str = "") -> Iterator[Path]:
    """Yields a path to write to; on success it takes the place of `path`, on an error it is removed.

    Args:
        ending: what its name must end with for the library that writes it, such as ".keras".

    Raises:
        ConfigError: something is there that is no file: it is not replaced.
        WriteError: the disk is full, or forbids it.
    """
    beside = _beside(path, f"part{ending}")
    try:
        with write_errors(path):
            check_kind(path)
            yield beside
            flush(beside)
            os.replace(beside, path)
            flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Like replaced_file, for a folder of plain files; an existing folder of that name is replaced."""
    beside, old = _beside(path, "part"), _beside(path, "old")
    try:
        with write_errors(path):
            check_kind(path, folder=True)
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            yield beside
            for file in beside.rglob("*"):
                flush(file)
            flush(beside)
            if path.exists():
                os.replace(path, old)
            os.replace(beside, path)
            flush(path.parent)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def hidden_name(path: Path, ending: str) -> Path:
    """Beside `path`: .<name>.<ending>; a long name is cut, and made unique by a checksum."""
    return path.with_name(f".{_cut(path.name)}.{ending}")


def _beside(path: Path, ending: str) -> Path:
    return hidden_name(path, f"{os.getpid()}@{HOST}.{ending}")


def _cut(name: str) -> str:
    whole = os.fsencode(name)
    if len(whole) <= LONGEST_NAME:
        return name
    return f"{os.fsdecode(whole[: LONGEST_NAME - 20])}~{hashlib.sha256(whole).hexdigest()[:12]}"


def check_kind(path: Path, folder: bool = False):
    """Raises ConfigError where there is something that may not be replaced: all but a file, or with `folder` a folder.

    A symbolic link is not followed: it may have been made to share what it leads to.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_IFMT(mode) != (stat.S_IFDIR if folder else stat.S_IFREG):
        kind = KINDS.get(stat.S_IFMT(mode), "a device")
        raise ConfigError(f"{path} is {kind}, which is not replaced; give another name")


def check_output(path: Path, flag: str, overwrite: bool = True):
    """Raises ConfigError, naming the flag, where a file must not, or cannot, be written at `path`."""
    try:
        check_kind(path)
        exists = path.exists()
    except ConfigError as error:
        raise ConfigError(f"--{flag}: {error}") from None
    except OSError as error:
        raise ConfigError(f"--{flag}: cannot write to {path}: {error.strerror}") from None
    if exists and not overwrite:
        raise ConfigError(f"--{flag}={path}: exists already; remove it, or give --overwrite")


def tidy(folder: Path, names: tuple[str, ...] = (), shared: bool = False):
    """Removes what writers that were killed left in a folder; what was being replaced is put back.

    Args:
        folder: where they wrote.
        names: look after these files and folders only; () = all.
        shared: others may be writing there now, so that only what processes of this machine left goes that run no more.
            Whether one of another machine runs is not known: what it left stays. False: nobody is.
    """
    wanted = {_cut(name): name for name in names}
    with read_errors(folder):
        content = list(folder.iterdir()) if folder.is_dir() else []
    for left in content:
        match = LEFTOVER.fullmatch(left.name)
        if not match or (names and match[1] not in wanted):
            continue
        if shared and (match[3] not in (None, HOST) or _runs(int(match[2]))):
            continue
        original = folder / wanted.get(match[1], match[1])
        if match[4] == "old" and not original.exists():
            os.replace(left, original)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                left.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@contextlib.contextmanager
def locked(folder: Path, busy: str) -> Iterator[bool]:
    """Keeps a folder, by the file .lock in it, from every other process that asks for it in the same way.

    Yields whether it does: not where the file system has no locks. The system frees the lock when the process ends,
    however it ends. The folder may be removed within.

    Args:
        folder: is made where there is none.
        busy: what the other one does, and the way out.

    Raises:
        ConfigError: another process has the lock; the message names it.
    """
    until = time.monotonic() + PATIENCE
    while True:
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: on a full disk closing it must not fail again.
            opened = open(folder / ".lock", "a+b", buffering=0)  # noqa: SIM115 - closed below
        with opened as file:
            taken = _take_lock(file)
            # The holder before may have removed the folder in between.
            if taken is not False and _is_at(file, folder / ".lock"):
                with write_errors(folder):
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
                yield bool(taken)
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


def _take_lock(file) -> bool | None:
    # None: there are no locks here.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        log.info(f"{file.name}: cannot be locked here ({error.strerror}): only one process may use this folder")
        return None
    return True


def make_folder(path: Path, flag: str):
    """Makes a folder and those above it; raises ConfigError, naming the flag that asked for it, where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}.writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"--{flag}: cannot write to {path}: {error.strerror}") from None


def make_place(path: Path, flag: str):
    """Makes the folder of a file that will be written; raises ConfigError, naming the flag, where it cannot be."""
    check_output(path, flag)
    make_folder(path.parent, flag)


def flush(path: Path):
    """Makes what was written to a file or folder survive a power cut; folders only where the file system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES) or not path.is_dir():
            raise


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file; raises ReadError where the system refuses to read it."""
    with read_errors(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_arrays(path: Path, arrays: dict[str, np.ndarray]):
    """Writes an .npz file; raises OSError where the system refuses."""
    # In one piece: a zip file that is cut off tries again to write its end when it is thrown away.
    content = io.BytesIO()
    np.savez(content, **arrays)
    path.write_bytes(content.getbuffer())


def read_json(path: Path):
    """What a JSON file holds.

    Raises:
        ReadError: the system refuses to read it.
        FileNotFoundError: it is not there.
        ValueError: its content is wrong.
    """
    with read_errors(path):
        return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: dict):
    """Writes a JSON file that is either complete or absent."""
    with replaced_file(path) as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
