"""Batches, read ahead in threads, as a tf.data.Dataset."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any

import numpy as np

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data import memory
from cosmictagger_tf.data.augmentation import draw, knows_cathode
from cosmictagger_tf.data.batch import Batch, make_batch
from cosmictagger_tf.data.dataset import Reader, SyntheticReader
from cosmictagger_tf.data.event import Event
from cosmictagger_tf.data.sampling import FILLER, evaluation_batches, training_entries
from cosmictagger_tf.data.transforms import downsample_event
from cosmictagger_tf.errors import ConfigError, DataError, UserError
from cosmictagger_tf.launch import usable_cores
from cosmictagger_tf.text import counted

# Where one core is left to the process, a second thread would only take turns with the first.
READ_THREADS = min(4, usable_cores())
READ_AHEAD = READ_THREADS + 1

Entries = Callable[[], Iterator[np.ndarray]]
# None, or a networks.segmentation.Preparation, of which data knows no more than this: a call that adds arrays to a
# Batch, and their shapes and types in `added`.
Prepare = Any
# (event, number of the batch in the stream, place in the batch) -> event.
Augment = Callable[[Event, int, int], Event] | None


@dataclass(frozen=True)
class Skip:
    """What becomes of bad events.

    Attributes:
        most: bad events that may be skipped.
        stand_in: True: the first sound event after it in file order takes its place. False: a filler of weight 0 does.
    """

    most: int
    stand_in: bool

    def candidates(self, entry: int, n_entries: int) -> list[int]:
        """The entries that are tried, in order; where one after the other is bad, more than may be skipped."""
        tries = min(self.most + 1, n_entries) if self.stand_in else 1
        return [(entry + i) % n_entries for i in range(tries)]


class BatchStream:
    """Batches of a data set, read ahead while the step before them computes.

    Args:
        reader: where events come from; with truth, the batches have it too.
        config: downsampling.
        size: events of a batch on this rank.
        entries: makes the iterator of the batches' entries: int64 [size] each, FILLER for a filler.
        augment: None, or what changes an event at full resolution.
        prepare: None, or what adds to a Batch what a network needs beside; runs in the threads that read.
        skip: None, or what becomes of a bad event, see Skip. None: its DataError ends the reading.

    Attributes:
        longest: the lists of all batches are padded as if one of so many pixels were there; set before they are read.

    The batches come from `generate`, in which nothing needs TensorFlow, or as a tf.data.Dataset from `batches`.
    """

    def __init__(
        self,
        reader: Reader,
        config: DataConfig,
        size: int,
        entries: Entries,
        prepare: Prepare = None,
        augment: Augment = None,
        skip: Skip | None = None,
    ):
        self.prepare, self.augment, self.skip = prepare, augment, skip
        self.bad: dict[int, DataError] = {}
        self.errors_of_batch: dict[int, list[DataError]] = {}
        self.reader, self.downsample, self.size, self.entries = reader, config.downsample, size, entries
        self.longest = 0
        self.error: UserError | None = None
        self.seconds_waited = 0.0

    @cached_property
    def batches(self):
        """tf.data.Dataset of prepared Batches (see batch.py), padded lengths open."""
        import tensorflow as tf

        planes = self.reader.shape.planes
        shapes = {
            "image_coordinates": ((self.size, planes, None, 2), tf.int32),
            "image_values": ((self.size, planes, None), tf.float32),
            "label_coordinates": ((self.size, planes, None, 2), tf.int32),
            "label_values": ((self.size, planes, None), tf.int32),
            "labels": ((self.size, planes, None), tf.int32),
            "weights": ((self.size,), tf.float32),
            "entries": ((self.size,), tf.int64),
        }
        if self.reader.has_truth:
            shapes |= {
                "event_classes": ((self.size,), tf.int32),
                "vertices": ((self.size, None, planes, 2), tf.float32),
                "vertices_known": ((self.size,), tf.float32),
            }
        if self.prepare:
            shapes |= self.prepare.added
        signature = {name: tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in shapes.items()}
        batches = tf.data.Dataset.from_generator(self.generate, output_signature=signature)
        options = tf.data.Options()
        # No tuning by TensorFlow: its thread can keep a failed process from ending for minutes.
        options.autotune.enabled = False
        return batches.with_options(options)

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

    def load(self, number: int, entries: np.ndarray) -> Batch:
        """Reads and batches the events of the batch `number` of this stream."""
        events: list[Event] = []
        errors: list[DataError] = []
        for place, entry in enumerate(entries):
            event = None if entry == FILLER else self.read(int(entry), errors)
            if event is not None:
                event = self.augment(event, number, place) if self.augment else event
                events.append(downsample_event(event, self.downsample))
        if errors:
            self.errors_of_batch[number] = errors
        batch = make_batch(events, self.size, self.reader.shape, self.longest, self.reader.has_truth)
        return self.prepare(batch) if self.prepare else batch

    def read(self, entry: int, errors: list[DataError]) -> Event | None:
        """An event, or what Skip puts in its place; adds those of the bad ones before it to `errors`."""
        if self.skip is None:
            return self.reader.read(entry)
        for candidate in self.skip.candidates(entry, len(self.reader)):
            if candidate not in self.bad:
                try:
                    return self.reader.read(candidate)
                except DataError as error:
                    if error.entry is None:
                        raise
                    self.bad[candidate] = error
            errors.append(self.bad[candidate])
        if self.skip.stand_in:
            last, most = errors[-1], self.skip.most
            reason = f"{last.reason} (--skip_bad_events={most}: so many before it cannot be read either)"
            raise DataError(last.file, reason, last.entry, last.plane)
        return None

    def bad_events(self, batches: int | None = None) -> list[DataError]:
        """The errors of the first so many batches, each bad event once, in order; None: of all that were read."""
        errors: dict[tuple[str, int | None], DataError] = {}
        for number in sorted(self.errors_of_batch):
            if batches is None or number < batches:
                for error in self.errors_of_batch[number]:
                    errors.setdefault((error.file, error.entry), error)
        return list(errors.values())

    def name(self, entry: int) -> str:
        """File and entry of the event that is read for an entry."""
        tried = self.skip.candidates(entry, len(self.reader)) if self.skip else [entry]
        return self.reader.name(next((candidate for candidate in tried if candidate not in self.bad), entry))

    def generate(self) -> Generator[Batch, None, None]:
        """The batches in order; READ_AHEAD of them are being read at any time."""
        memory.keep()
        pool = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read")
        coming = enumerate(self.entries())
        ahead = deque(pool.submit(self.load, *batch) for batch in islice(coming, READ_AHEAD))
        try:
            while ahead:
                began = time.perf_counter()
                batch = ahead.popleft().result()
                self.seconds_waited += time.perf_counter() - began
                ahead.extend(pool.submit(self.load, *batch) for batch in islice(coming, 1))
                yield batch
        except UserError as error:
            self.error = error
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def training_dataset(
    reader: Reader,
    config: DataConfig,
    seed: int,
    start_step: int = 0,
    steps: int | None = None,
    rank=0,
    ranks=1,
    prepare: Prepare = None,
    augment: bool = False,
    skip: int = 0,
) -> BatchStream:
    """The training batches from `start_step` on, in the order of sampling.training_entries; endless without `steps`.

    With `skip`, so many bad events give way to the sound events after them. Which these are follows from the file
    alone, so that a resumed run and other numbers of ranks see the same; and no batch has fewer events.

    Raises:
        ConfigError: there are fewer entries than ranks.
    """
    if len(reader) < ranks and not isinstance(reader, SyntheticReader):
        files = ", ".join(reader.files)
        entries_are = f"{counted(len(reader), 'entry')} {'is' if len(reader) == 1 else 'are'}"
        raise ConfigError(f"{files}: {entries_are} too few for {ranks} ranks: use fewer ranks or more events")
    local = config.minibatch_size // ranks

    def entries():
        step = start_step
        while steps is None or step < start_step + steps:
            yield training_entries(seed, step, config.minibatch_size, len(reader), rank, ranks)
            step += 1

    def changed(event, number, place):
        position = (start_step + number) * config.minibatch_size + rank * local + place
        change = draw(seed, position, event.shape.planes)
        return (change if knows_cathode(event.shape) else change.in_place()).apply(event)

    stand_in = Skip(skip, stand_in=True) if skip else None
    return BatchStream(reader, config, local, entries, prepare, changed if augment else None, stand_in)


def evaluation_dataset(
    reader: Reader, config: DataConfig, rank: int = 0, ranks: int = 1, prepare: Prepare = None, skip: int = 0
) -> BatchStream:
    """This rank's events, each once, in file order; the last batch is filled up (weight 0).

    With `skip`, bad events are left out: fillers take their places.
    """
    size = config.minibatch_size // ranks
    left_out = Skip(skip, stand_in=False) if skip else None
    entries = partial(evaluation_batches, len(reader), size, rank, ranks)
    return BatchStream(reader, config, size, entries, prepare, skip=left_out)
