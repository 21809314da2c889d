"""Readers side by side: this package's, the larcv library's queue, and inflating alone, which no reader can beat.

All three read the same entries and end with NumPy arrays on the host: neither the hand-over to the device nor the
dense conversion there is in the figures.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.benchmarking.larcv_queue import LarcvQueue
from cosmictagger_tf.benchmarking.throughput import Throughput
from cosmictagger_tf.config import DataConfig, with_changes
from cosmictagger_tf.data.dataset import FilesReader, Reader
from cosmictagger_tf.data.inflate import inflate_chunks
from cosmictagger_tf.data.larcv_h5 import LarcvFile
from cosmictagger_tf.data.pipeline import READ_AHEAD, BatchStream
from cosmictagger_tf.data.sampling import training_entries
from cosmictagger_tf.errors import ConfigError, MissingPackageError

DOWNSAMPLES, BATCHES = (0, 2), (1, 4, 16)
# Batches before the clock starts: threads, file caches and buffers are there then.
WARM = 3
REPEATS = 3
_SEED = 0
_VOXEL_BYTES = 16


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        reader: "h5py", "larcv queue" or "inflate only".
        downsample, batch: what was read.
        read: between the clock's start and its end, in the quickest of REPEATS runs; its megabytes are of the inflated
            voxels, the same for all readers.
    """

    reader: str
    downsample: int
    batch: int
    read: Throughput

    def __str__(self) -> str:
        read = self.read
        return (
            f"{self.downsample:>10} {self.batch:>6}  {self.reader:<13} {read.events / read.seconds:>9.1f} "
            f"{1e3 * read.cpu_seconds / read.events:>13.2f} {read.megabytes / read.seconds:>7.1f} "
            f"{read.waited / read.seconds:>8.0%}"
        )


_COLUMNS = ("downsample", "batch", "reader", "images/s", "CPU ms/image", "MB/s", "waiting")
HEADER = "{:>10} {:>6}  {:<13} {:>9} {:>13} {:>7} {:>8}".format(*_COLUMNS)


def compare(reader: Reader, config: DataConfig, steps: int) -> Iterator[Row]:
    """Reads with each reader at each downsampling and batch size; without the larcv library its rows are left out.

    Args:
        reader: over one file, read from its first entry on.
        config: of that reader.
        steps: batches of one image; larger batches are fewer.

    Raises:
        ConfigError: there are several files, or entries are left out: the larcv queue reads one whole file.
        DataError: an entry cannot be read.
    """
    if not isinstance(reader, FilesReader):
        raise ConfigError("--compare_readers: needs a --file")
    with reader.parts[0].used() as part:
        if len(reader.parts) > 1 or not isinstance(part, LarcvFile) or len(reader) != len(part) or part.label is None:
            raise ConfigError("--compare_readers: takes one whole file with labels, and --reader=h5py")
        yield from _compare(reader, part, config, steps)


def _compare(reader, part, config, steps) -> Iterator[Row]:
    for downsample, batch in itertools.product(DOWNSAMPLES, BATCHES):
        count = max(4, steps // batch)
        case = with_changes(config, downsample=downsample, minibatch_size=batch)
        entries = [training_entries(_SEED, step, batch, len(reader)) for step in range(WARM + count)]
        voxels = sum(_voxels(part, int(entry)) for batch in entries[WARM:] for entry in batch)
        megabytes = voxels * _VOXEL_BYTES / 1e6
        for name in ("inflate only", "h5py", "larcv queue"):
            with contextlib.suppress(MissingPackageError):
                runs = [_timed(name, reader, part, case, entries) for _ in range(REPEATS)]
                # The quickest: what else the machine does makes them only longer.
                seconds, waited = min((seconds, waited) for seconds, _, waited in runs)
                cpu_seconds = min(cpu_seconds for _, cpu_seconds, _ in runs)
                read = Throughput(count * batch, voxels, seconds, cpu_seconds, megabytes, waited)
                yield Row(name, downsample, batch, read)


def _timed(name, reader, part, config, entries) -> tuple[float, float, float]:
    if name == "inflate only":
        return _inflate(part, np.concatenate(entries[WARM:]))
    return _read(reader, config, entries) if name == "h5py" else _queue(part, config.downsample, entries)


def _voxels(part: LarcvFile, entry) -> int:
    products = [product for product in (part.image, part.label) if product is not None]
    return sum(count for product in products for _, count in product.ranges(entry, part.shape))


def _time(batches: Iterator, count: int, waited: Callable[[], float]) -> tuple[float, float, float]:
    # (seconds, CPU seconds, seconds waited) from the arrival of batch WARM - 1 to that of batch WARM + count - 1.
    for _ in range(WARM):
        next(batches)
    began = time.perf_counter(), time.process_time(), waited()
    for _ in range(count):
        next(batches)
    ended = time.perf_counter(), time.process_time(), waited()
    return ended[0] - began[0], ended[1] - began[1], ended[2] - began[2]


def _read(reader, config, entries) -> tuple[float, float, float]:
    # As many batches are being read when the clock stops as when it starts.
    more = [entries[step % len(entries)] for step in range(len(entries) + READ_AHEAD)]
    stream = BatchStream(reader, config, config.minibatch_size, lambda: iter(more))
    batches = stream.generate()
    timed = _time(batches, len(entries) - WARM, stream.waited)
    batches.close()
    return timed


def _queue(part, downsample, entries) -> tuple[float, float, float]:
    producers = (part.image.producer, part.label.producer)
    queue = LarcvQueue(part.path, producers, part.shape.planes, downsample)
    batches = queue.read(iter([*entries, entries[0]]))
    timed = _time(batches, len(entries) - WARM, lambda: queue.waited)
    # What was asked for is read to its end: see larcv_queue.
    for _ in batches:
        pass
    return timed


def _inflate(part: LarcvFile, entries) -> tuple[float, float, float]:
    # The compressed chunks are in memory before the clock starts.
    packed = {int(entry): _packed(part, int(entry)) for entry in entries[:16]}
    chosen = list(packed)
    length = max(length for chunks in packed.values() for _, _, length in chunks)
    most = max(len(sizes) for chunks in packed.values() for _, sizes, _ in chunks)
    out = np.zeros((most, length), np.uint8)
    began = time.perf_counter(), time.process_time()
    for number in range(len(entries)):
        for data, sizes, _ in packed[chosen[number % len(chosen)]]:
            inflate_chunks(data, sizes, out[: len(sizes)])
    return time.perf_counter() - began[0], time.process_time() - began[1], 0.0


def _packed(part: LarcvFile, entry) -> list[tuple[np.ndarray, list[int], int]]:
    packed_batches = []
    for product in (part.image, part.label):
        if product is not None:
            ranges = product.ranges(entry, part.shape)
            first, last = min(first for first, _ in ranges), max(first + count for first, count in ranges)
            try:
                packed = product.voxels.packed(first, max(1, last - first))
            except ValueError as error:
                raise product.error(str(error), entry) from None
            packed_batches.append((packed.data.copy(), packed.sizes, packed.length))
    return packed_batches
