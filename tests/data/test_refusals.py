"""The machine refuses: a read or write that fails is one line with the path, what was tried and the system's reason.

Nothing is called broken, set aside or half-written for it. System calls fail through refusing.c.
"""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cosmictagger_tf.errors import ReadError, WriteError, read_errors, system_reason, write_errors
from tests.commands import ROOT
from tests.data.sound_files import sound_file

# As a user's command, but without a launcher or TensorFlow.
READ = """
import sys
from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.larcv_products import Products
from cosmictagger_tf.errors import UserError
try:
    reader = open_reader(DataConfig(file=(sys.argv[1],), reader=sys.argv[2]))
    sums = [sum(float(p.values.sum() + p.rows.sum()) for p in reader.read(e).image) for e in range(len(reader))]
    products = Products(reader)
    for entry in range(len(reader)):
        products.read(entry)
    print("read", len(reader), sums)
except UserError as error:
    print(type(error).__name__, error)
"""
LITTLE_MEMORY = """
import resource
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 << 20
"""
WRITE = """
import resource, sys
from cosmictagger_tf.data.dataset import SyntheticReader
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.errors import UserError
reader, room = SyntheticReader(), int(sys.argv[2])
event = reader.read(0)
if room:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    with LarcvWriter(sys.argv[1], reader.shape) as writer:
        for number in range(6):
            writer.write((1, 1, number), {"image": event.image})
    print("written")
except UserError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="session")
def refusing(tmp_path_factory):
    """Runs Python code with a system call that fails; gives the lines that it printed."""
    library = tmp_path_factory.mktemp("refusing") / "refusing.so"
    source = Path(__file__).with_name("refusing.c")
    done = subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"refusing.c does not compile here: {done.stderr[:200]}")

    def run(code, *arguments, call, number, path=None, after=0):
        environment = os.environ | {"LD_PRELOAD": str(library), "REFUSED": call, "REFUSED_ERRNO": str(number)}
        environment |= {"REFUSED_PATH": str(path), "REFUSED_AFTER": str(after)} if path else {}
        return lines_of(code, *arguments, env=environment)

    return run


def lines_of(code, *arguments, env=None):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=120)
    assert done.returncode == 0 and done.stderr == "", (done.returncode, done.stderr)
    return done.stdout.splitlines()


@pytest.mark.parametrize("after", [0, 3, 12, 30, 45])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_read_that_fails_names_file_and_reason_and_calls_nothing_broken(
    refusing, tmp_path, reader_name, number, after
):
    path = sound_file(tmp_path / "events.h5")
    (line,) = refusing(READ, path, reader_name, call="read", number=number, path="events.h5", after=after)
    assert line == f"ReadError {path}: cannot be read: {os.strerror(number)}"


@pytest.mark.parametrize("after", [25, 60, 69, 80, 90, 98, 100, 102, 110])
def test_a_read_that_fails_once_gives_no_wrong_event(refusing, tmp_path, reader_name, after, monkeypatch):
    path = sound_file(tmp_path / "events.h5", entries=100)
    monkeypatch.setenv("REFUSED_TIMES", "1")
    # Memory that is not initialised holds large numbers: what the larcv library takes for a count of voxels.
    monkeypatch.setenv("MALLOC_PERTURB_", "37")
    # The larcv library has its own lines.
    *_, line = refusing(
        READ + LITTLE_MEMORY, path, reader_name, call="read", number=errno.EIO, path="events.h5", after=after
    )
    (right,) = lines_of(READ, path, reader_name)
    assert right.startswith("read 100") and (line == right or line.startswith(f"ReadError {path}: cannot be read"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_reading_needs_no_locks(refusing, tmp_path, reader_name, number):
    path = sound_file(tmp_path / "events.h5")
    (line,) = refusing(READ, path, reader_name, call="lock", number=number)
    assert line.startswith("read ")


@pytest.mark.parametrize("room", [1000, 5000, 200_000, 1_000_000])
def test_a_file_that_grows_too_large_is_one_line_and_leaves_nothing(tmp_path, room):
    target = tmp_path / "events.h5"
    (line,) = lines_of(WRITE, target, room)
    assert line == f"WriteError {target}: cannot be written: File too large; what was written before is intact"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [0, 1, 20, 100])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(refusing, tmp_path, number, after):
    target = tmp_path / "events.h5"
    target.write_text("old")
    (line,) = refusing(WRITE, target, 0, call="write", number=number, path=".events.h5", after=after)
    reason = os.strerror(number)
    assert line == f"WriteError {target}: cannot be written: {reason}; what was written before is intact"
    assert [path.name for path in tmp_path.iterdir()] == ["events.h5"] and target.read_text() == "old"


def test_a_quota_that_is_noticed_at_the_end_only(refusing, tmp_path):
    target = tmp_path / "events.h5"
    (line,) = refusing(WRITE, target, 0, call="fsync", number=errno.EDQUOT)
    assert line.startswith(f"WriteError {target}: cannot be written: Disk quota exceeded")
    assert list(tmp_path.iterdir()) == []


def test_weights_are_loaded_where_there_are_no_locks(refusing, tmp_path):
    import h5py

    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["kernel"] = [1.0]
    code = (
        "import sys\nfrom cosmictagger_tf.data.tables import open_for_reading as o\nprint(o(sys.argv[1])['kernel'][0])"
    )
    assert refusing(code, tmp_path / "weights.h5", call="lock", number=errno.ENOLCK) == ["1.0"]


def test_a_folder_that_may_not_be_listed_is_not_one_without_files(tmp_path, monkeypatch):
    from cosmictagger_tf.data.dataset import expand

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ReadError, match=r"\*.h5: cannot be read: Permission denied"):
        expand((f"{tmp_path}/*.h5",))


def test_the_files_bytes_are_those_that_hdf5_writes_by_itself(tmp_path):
    import h5py
    import numpy as np

    from cosmictagger_tf.data.hdf5_target import Hdf5Target

    target = Hdf5Target(tmp_path / "ours.h5")
    for place in (target, tmp_path / "theirs.h5"):
        with h5py.File(place, "w", libver="earliest") as file:
            table = file.create_dataset("a/b", (0,), maxshape=(None,), chunks=(100,), compression=1, track_times=False)
            for number in range(50):
                table.resize((len(table) + 37,))
                table[-37:] = np.arange(37) * number
    target.close()
    assert (tmp_path / "ours.h5").read_bytes() == (tmp_path / "theirs.h5").read_bytes()


def test_what_the_disk_did_not_take_is_read_back(tmp_path, monkeypatch):
    from cosmictagger_tf.data.hdf5_target import Hdf5Target

    target = Hdf5Target(tmp_path / "file")
    target.write(b"abcdef")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "pwrite", full)
    target.seek(4)
    assert target.write(b"XYZ12") == 5 and target.seek(0, os.SEEK_END) == 9
    target.seek(0)
    assert target.read(20) == b"abcdXYZ12" + bytes(11)
    with pytest.raises(OSError, match="28"):
        target.close()
    assert (tmp_path / "file").read_bytes() == b"abcdef"


def test_reading_and_writing_are_told_apart():
    with pytest.raises(ReadError, match=r"^a: cannot be read: Permission denied$"), read_errors("a"):
        raise PermissionError(errno.EACCES, "")
    with pytest.raises(WriteError, match=r"^a: cannot be written: No such file or directory"), write_errors("a"):
        raise FileNotFoundError(errno.ENOENT, "")
    with pytest.raises(FileNotFoundError), read_errors("a"):
        raise FileNotFoundError(errno.ENOENT, "")
    with pytest.raises(ValueError, match="content"), read_errors("a"):
        raise ValueError("content is wrong")


def test_an_address_in_a_broken_file_is_not_the_machines_fault():
    assert system_reason(OSError(errno.EINVAL, "")) is None
    assert system_reason(OSError("file read failed: errno = 22, error message = 'Invalid argument'")) is None
    assert system_reason(OSError("file read failed: errno = 5, error message = 'x'")) == "Input/output error"


def test_more_files_than_may_be_open_are_read(tmp_path):
    from cosmictagger_tf.config import DataConfig
    from cosmictagger_tf.data.dataset import open_reader

    paths = tuple(str(sound_file(tmp_path / f"{i}.h5")) for i in range(12))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = f"""
import os, resource
from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import open_reader
room = len(os.listdir("/proc/self/fd")) + 8
resource.setrlimit(resource.RLIMIT_NOFILE, (room, room))
readers = [open_reader(DataConfig(file={paths!r})) for _ in range(3)]
for reader in readers:
    print([int(reader.read(entry).image[0].rows.sum()) for entry in range(len(reader))])
"""
    lines = lines_of(code)
    reader = open_reader(DataConfig(file=paths))
    assert lines == [str([int(reader.read(entry).image[0].rows.sum()) for entry in range(len(reader))])] * 3
    reader.close()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == limits[1]
