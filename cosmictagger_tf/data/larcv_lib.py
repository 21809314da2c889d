"""larcv3 files read through the larcv library: the same Events as larcv_h5, by the code that wrote the files.

The library trusts its input. Of version 3.5.1 it was found, in its source and by trying: an exception while it opens a
file leaves its global lock held, and whatever comes next waits for ever; where HDF5 cannot read voxels it returns
what memory held; an event without planes shows those of the event before; where image_meta has a row that is not valid
it closes the file; the planes' voxels are taken to lie one after the other, whatever voxel_extents hold; group names
are copied into 128 bytes; where HDF5 cannot read how many voxels there are, it reserves memory for as many as memory
happened to hold. So larcv_h5 first checks the tables that describe an entry, and then the voxels that the library
returns, and after a failure the library gets no more memory than an entry can need.
"""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator

import numpy as np

from cosmictagger_tf.config import TruthConfig
from cosmictagger_tf.config.quoting import readable
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.larcv_format import IMAGE_META_DTYPE
from cosmictagger_tf.data.larcv_h5 import LarcvFile, Sparse2d
from cosmictagger_tf.data.memory import limited_growth
from cosmictagger_tf.data.tables import Hdf5File, filter_name, filters
from cosmictagger_tf.data.voxels import EntryVoxels
from cosmictagger_tf.errors import ConfigError, DataError, MissingPackageError, ReadError
from cosmictagger_tf.text import counted

_LONGEST_NAME = 127
_ONLY_ERRORS = 5
# Bytes that the library may still take for an entry once HDF5 has failed: more than the voxels of any readout need.
_AFTER_FAILURE = 1 << 30
_opening = threading.Lock()
_stuck = False


def import_larcv():
    """The larcv library, quiet.

    Raises:
        MissingPackageError: it is not installed.
        ConfigError: NumPy 2 is installed, which it reads wrongly.
    """
    try:
        import larcv
    except ImportError as error:
        raise MissingPackageError("larcv", "--reader=larcv", "scripts/install_larcv", error) from None
    # It was compiled with pybind11 2.9: every voxel would come back as one constant.
    if int(np.__version__.partition(".")[0]) >= 2:
        raise ConfigError(
            f"--reader=larcv: the larcv library reads the arrays of NumPy {np.__version__} wrongly without saying so: "
            "run `pip install 'numpy<2' 'ml_dtypes<0.6'`, or use --reader=h5py"
        )
    _set_hdf5_listener(larcv)
    return larcv


_Listener = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_void_p)


def _set_hdf5_listener(larcv, listener=None):
    # The library's HDF5 would print every failure. Where it was built for threads this holds for the calling thread.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(larcv.pylarcv.__file__).H5Eset_auto2(ctypes.c_int64(0), listener, None)


@contextlib.contextmanager
def _hdf5_failures(larcv) -> Iterator[list]:
    # The failures within, after which the library continues with what memory held.
    failures: list = []
    with contextlib.ExitStack() as after:

        @_Listener
        def listen(stack, data):
            if not failures:
                after.enter_context(limited_growth(_AFTER_FAILURE))
            failures.append(stack)
            return 0

        after.callback(_set_hdf5_listener, larcv)
        _set_hdf5_listener(larcv, listen)
        yield failures


@contextlib.contextmanager
def _without_locks():
    # h5py has looked whether another program writes the file; the library's HDF5 fails where there are no locks.
    before = os.environ.get("HDF5_USE_FILE_LOCKING")
    os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
    try:
        yield
    finally:
        os.environ.pop("HDF5_USE_FILE_LOCKING")
        if before is not None:
            os.environ["HDF5_USE_FILE_LOCKING"] = before


class LarcvLibraryFile:
    """One open larcv3 file, read by the larcv library; a FileReader (see dataset.py).

    `read` may be called from several threads, and reads in one at a time.

    Args:
        path, producer_image, producer_label, truth: as in larcv_h5.LarcvFile, which reads the truth here too.

    Raises:
        DataError: as larcv_h5.LarcvFile, or the file is one that the library would read wrongly.
        MissingPackageError, ConfigError: see import_larcv.
    """

    def __init__(self, path: str, producer_image: str, producer_label: str, truth: TruthConfig | None = None):
        self.larcv = import_larcv()
        self.path = path
        self.checker = LarcvFile(path, producer_image, producer_label, truth)
        self.shape, self.has_labels = self.checker.shape, self.checker.has_labels
        self.pixel_size, self.truth_sources = self.checker.pixel_size, self.checker.truth_sources
        self.event_id, self.content = self.checker.event_id, self.checker.content
        self.identity, self.check_unchanged = self.checker.identity, self.checker.check_unchanged
        self.lock = threading.Lock()
        try:
            self._check_names()
            self._check_filters()
            self._check_metas()
            self.manager = self._open()
        except BaseException:
            self.checker.close()
            raise

    def __len__(self) -> int:
        return len(self.checker)

    def _check_names(self):
        if readable(self.path) != self.path:
            raise DataError(self.path, "the larcv library cannot open a name that is not UTF-8: use --reader=h5py")
        for name in self.checker.file.h5["Data"]:
            size = len(name.encode("utf-8", "surrogateescape"))
            if not name.endswith("_group") or name.count("_") < 2 or size > _LONGEST_NAME:
                raise DataError(self.path, f"the larcv library cannot open a file with /Data/{name}: use --reader=h5py")

    def _check_filters(self):
        # The library has its own HDF5, which may lack what h5py has (lzf).
        has = ctypes.CDLL(self.larcv.pylarcv.__file__).H5Zfilter_avail
        for table in self.checker.tables():
            for number in filters(table.dataset):
                if has(ctypes.c_int(number)) <= 0:
                    reason = (
                        f"table {table.name} is compressed with {filter_name(table.dataset, number)}, which the larcv"
                    )
                    raise DataError(self.path, f"{reason} library lacks: use --reader=h5py")

    def _check_metas(self):
        for product in self.checker.products():
            missing = set(IMAGE_META_DTYPE.names or ()) - set(product.meta.dtype.names)
            if missing:
                reason = f"table {product.meta.name} has no column {min(missing)}, which the larcv library needs"
                raise DataError(self.path, f"{reason}: use --reader=h5py")

    def _open(self):
        global _stuck
        producers = [product.producer for product in self.checker.products()]
        config = {
            "Name": "cosmictagger_tf",
            "Verbosity": _ONLY_ERRORS,
            "Input": {
                "InputFiles": [self.path],
                "ReadOnlyType": ["sparse2d"] * len(producers),
                "ReadOnlyName": producers,
            },
        }
        with _opening:
            if _stuck:
                raise DataError(self.path, "the larcv library failed earlier and is locked: start the program again")
            try:
                with _without_locks():
                    manager = self.larcv.IOManager(config)
                    manager.initialize()
            except Exception as error:
                _stuck = True
                raise DataError(self.path, f"the larcv library cannot open it: {error}") from None
        # The library has opened the path by itself.
        Hdf5File(self.path, self.identity).close()
        if manager.get_n_entries() != len(self.checker):
            raise DataError(
                self.path, f"the larcv library finds {counted(manager.get_n_entries(), 'entry')}: use --reader=h5py"
            )
        return manager

    def read(self, entry: int, number: int | None = None) -> Event:
        """An entry of this file, as the entry `number` of a data set; raises DataError."""
        return self.checker.event(entry, number, lambda product, like: self._voxels(product, entry, like))

    def _voxels(self, product: Sparse2d, entry, like: EntryVoxels | None) -> EntryVoxels:
        ranges = product.ranges(entry, self.shape)
        if product.converted:
            # HDF5 converts to the nearest number that the library's type has, silently.
            product.read(entry, self.shape)
        if not product.in_one_piece(entry):
            raise product.error("the larcv library needs voxels without gaps between planes: use --reader=h5py", entry)
        if not product.is_valid(entry):
            raise product.error(
                "the larcv library takes no image whose image_meta is not valid: use --reader=h5py", entry
            )
        nothing = np.zeros(0, np.uint64), np.zeros(0, np.float32)
        # Of an event without planes the library would show those of the event before.
        empty = not any(count for _, count in ranges)
        tensors = [nothing] * self.shape.planes if empty else self._tensors(product, entry)
        counts = [len(ids) for ids, _ in tensors]
        try:
            if counts != [count for _, count in ranges]:
                raise product.error("the larcv library reads it otherwise than it is: use --reader=h5py", entry)
            ids, values = (np.concatenate(column) for column in zip(*tensors, strict=True))
            return product.checked(ids, values, counts, entry, self.shape, like)
        except DataError:
            # What HDF5 could not read is garbage by now; larcv_h5 knows what is wrong with it.
            product.read(entry, self.shape)
            raise

    def _tensors(self, product, entry) -> list[tuple[np.ndarray, np.ndarray]]:
        # (ids, values) of each plane, in the order of the planes.
        with self.lock, _hdf5_failures(self.larcv) as failures:
            try:
                self.manager.read_entry(entry, True)
                tensors = self.manager.get_data("sparse2d", product.producer).as_vector()
                planes = {tensor.meta().id(): (tensor.indexes(), tensor.values()) for tensor in tensors}
                failed = bool(failures) or planes.keys() != set(range(self.shape.planes))
            except Exception:
                failed = True
                self._give_up()
        if failed:
            # larcv_h5 reports what is wrong, where it fails too.
            product.read(entry, self.shape)
            again = "give the command again, or use --reader=h5py"
            raise ReadError(f"{self.path}: cannot be read by the larcv library, whose HDF5 failed: {again}")
        return [planes[plane] for plane in range(self.shape.planes)]

    def _give_up(self):
        # The library's lock stays held: nothing of it may be called any more, its destructors neither.
        global _stuck
        _stuck = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.manager))
        self.manager = None

    def close(self) -> None:
        with self.lock:
            if self.manager is not None:
                self.manager.finalize()
        self.checker.close()
