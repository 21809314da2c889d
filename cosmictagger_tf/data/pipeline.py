"""Batches, read ahead in threads, as a tf.data.Dataset."""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import tensorflow as tf

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.batch import Batch, make_batch
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.data.sampling import FILLER, evaluation_batches, training_entries
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.errors import UserError

READ_THREADS = min(4, os.cpu_count() or 1)
READ_AHEAD = READ_THREADS + 1


class BatchStream:
    """Batches of a data set, read ahead while the step before them computes.

    Args:
        reader: where events come from.
        config: downsampling.
        size: events of a batch on this rank.
        entries: makes the iterator of the batches' entries: int64 [size] each, FILLER for a filler.

    Attributes:
        batches: tf.data.Dataset of Batches (see batch.py), padded lengths open.
    """

    def __init__(self, reader: Reader, config: DataConfig, size: int, entries: Callable[[], Iterator[np.ndarray]]):
        self.reader, self.downsample, self.size, self.entries = reader, config.downsample, size, entries
        self.error: UserError | None = None
        self.seconds_waited = 0.0
        self.batches = tf.data.Dataset.from_generator(self.generate, output_signature=self._signature())

    def waited(self) -> float:
        """Seconds that the consumer has waited for a batch so far."""
        return self.seconds_waited

    @contextlib.contextmanager
    def errors_reraised(self):
        """Around what consumes `batches`: raises what stopped the reading, not TensorFlow's wrapping."""
        try:
            yield
        except Exception:
            if self.error is not None:
                raise self.error from None
            raise

    def load(self, entries: np.ndarray) -> Batch:
        """Reads and batches the events of one batch."""
        events = [downsample_event(self.reader.read(int(e)), self.downsample) for e in entries if e != FILLER]
        return make_batch(events, self.size, self.reader.shape)

    def generate(self) -> Iterator[Batch]:
        """The batches in order; READ_AHEAD of them are being read at any time."""
        pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read")
        coming = self.entries()
        ahead = deque(pool.submit(self.load, entries) for entries in islice(coming, READ_AHEAD))
        try:
            while ahead:
                began = time.perf_counter()
                batch = ahead.popleft().result()
                self.seconds_waited += time.perf_counter() - began
                ahead.extend(pool.submit(self.load, entries) for entries in islice(coming, 1))
                yield batch
        except UserError as error:
            self.error = error
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _signature(self):
        planes = self.reader.shape.planes
        shapes = {
            "image_coordinates": ((self.size, planes, None, 2), tf.int32),
            "image_values": ((self.size, planes, None), tf.float32),
            "label_coordinates": ((self.size, planes, None, 2), tf.int32),
            "label_values": ((self.size, planes, None), tf.int32),
            "weights": ((self.size,), tf.float32),
            "entries": ((self.size,), tf.int64),
        }
        return {name: tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in shapes.items()}


def training_dataset(
    reader: Reader, config: DataConfig, seed: int, start_step: int = 0, steps: int | None = None, rank=0, ranks=1
) -> BatchStream:
    """The training batches from `start_step` on, in the order of sampling.training_entries; endless without `steps`."""

    def entries():
        step = start_step
        while steps is None or step < start_step + steps:
            yield training_entries(seed, step, config.minibatch_size, len(reader), rank, ranks)
            step += 1

    return BatchStream(reader, config, config.minibatch_size // ranks, entries)


def evaluation_dataset(reader: Reader, config: DataConfig, rank: int = 0, ranks: int = 1) -> BatchStream:
    """Every event once, in file order; the last batch is filled up (weight 0)."""
    size = config.minibatch_size
    return BatchStream(reader, config, size, lambda: evaluation_batches(len(reader), size, rank, ranks))
