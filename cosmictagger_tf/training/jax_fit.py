"""What happens step by step in a training on Keras's JAX backend: batches to the device, records, checkpoints."""

from collections import deque
from collections.abc import Iterator

import jax
import numpy as np

from cosmictagger_tf.clean_stop import CaughtSignals
from cosmictagger_tf.data.batch import Batch
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.data.pipeline import BatchStream, training_dataset
from cosmictagger_tf.data.sampling import training_entries
from cosmictagger_tf.detector import PADDING_COORDINATE
from cosmictagger_tf.errors import NonFiniteError
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.checkpoints import CheckpointStore
from cosmictagger_tf.training.evaluation import EventTable, join
from cosmictagger_tf.training.jax_step import JaxStep, StepResult
from cosmictagger_tf.training.recorders import RecordSink
from cosmictagger_tf.training.run_config import RunConfig, TrainingResult, learning_rate
from cosmictagger_tf.training.speed import Progress, Readings, is_due, speed_between

# Steps that are under way at any time: while one computes, the next one is being handed over.
UNDER_WAY = 2
# What the lists of a Batch are filled up with.
PADDING = {"image_coordinates": PADDING_COORDINATE, "image_values": 0}
PADDING |= {"label_coordinates": PADDING_COORDINATE, "label_values": 0, "labels": 0}


class LongestLists:
    """Fills the lists of Batches up to the longest length so far: a step is then compiled anew only for a longer one.

    Compiling takes minutes on a GPU; a longer list costs the scattering of what is dropped.
    """

    def __init__(self):
        self.length = 0

    def __call__(self, batch: Batch) -> Batch:
        """The same Batch, its lists filled up."""
        self.length = max(self.length, *(batch[name].shape[2] for name in PADDING))
        return batch | {name: self._filled(batch[name], value) for name, value in PADDING.items()}

    def _filled(self, array, value):
        widths = [(0, 0)] * array.ndim
        widths[2] = (0, self.length - array.shape[2])
        return np.pad(array, widths, constant_values=value)


class Records:
    """Collects what steps found, and gives a record of it to the sinks where one is due.

    Args:
        config: of the run.
        progress: see Progress.
        schedule: gives the learning rate of a step, counted from 0.
        waited: function giving the seconds that steps have waited for data so far.
        sinks: see recorders.py.
    """

    def __init__(self, config: RunConfig, progress: Progress, schedule, waited, sinks: list[RecordSink]):
        self.progress, self.schedule, self.waited, self.sinks = progress, schedule, waited, sinks
        self.intervals = config.train.logging_iteration, config.train.summary_iteration
        self.images_per_step = config.data.minibatch_size
        self.tables: list[EventTable] = []
        self.mark = self._now(progress.start)

    def _now(self, step: int) -> Readings:
        return Readings.now(step, self.progress.paused_seconds, self.waited())

    def add(self, step: int, found: dict):
        """Takes in the measures of a step; see evaluation.measures."""
        losses, counts = np.asarray(found["losses"]), np.asarray(found["counts"]).astype(np.int64)
        self.tables.append(EventTable(np.full(len(losses), step), losses, counts))
        if step == self.progress.total or any(is_due(every, step - 1, step) for every in self.intervals):
            self.write(step)

    def write(self, step: int):
        """Makes the record of the steps since the last one, if there are any."""
        if not self.tables:
            return
        now = self._now(step)
        speed = speed_between(self.mark, now, self.progress.total, self.images_per_step)
        speed["learning_rate"] = float(self.schedule(step - 1))
        for sink in self.sinks:
            sink.write({"split": "train", "step": step, **join(self.tables).summary(), **speed})
        self.tables.clear()
        self.mark = now


class JaxFit:
    """What happens step by step.

    Args:
        config: of the run.
        reader: of the training data.
        step: what is trained, as it stands at the first step.
        store: where its checkpoints go.
        bad: counts bad events.
    """

    def __init__(self, config: RunConfig, reader: Reader, step: JaxStep, store: CheckpointStore, bad: BadEvents):
        self.config, self.reader, self.step, self.store, self.bad = config, reader, step, store, bad
        self.update = jax.jit(step, donate_argnums=0)
        self.state = step.state()
        self.under_way: deque[tuple[int, StepResult]] = deque()

    def run(self, start: int, total: int, sinks: list[RecordSink]) -> TrainingResult:
        """Trains from step `start` to `total`, or until a signal comes.

        Args:
            sinks: take the records; see recorders.py.
        """
        config = self.config
        skip, seed = self.bad.most, config.execution.seed
        augment = config.train.augment
        stream = training_dataset(self.reader, config.data, seed, start, total - start, augment=augment, skip=skip)
        schedule = learning_rate(config, self.reader, total)
        records = Records(config, Progress(start, total), schedule, stream.waited, sinks)
        number = start
        signals = CaughtSignals()
        signals.take()
        try:
            for number, batch in enumerate(self.batches(stream), start + 1):
                self.state, result = self.update(self.state, batch)
                self.under_way.append((number, result))
                self.finish(records, UNDER_WAY - 1)
                self.bad.count(stream.met(number - start))
                stopping = signals.exit_status is not None or number == total
                if stopping or number % config.train.checkpoint_iteration == 0:
                    self.save(number, records)
                if stopping:
                    records.write(number)
                    break
        finally:
            signals.give_back()
        return TrainingResult(number, total, signals.exit_status)

    def batches(self, stream: BatchStream) -> Iterator[dict]:
        """The Batches on the device, with all that the network needs; each is there when it is asked for."""
        longest, prepare = LongestLists(), self.step.segmenter.prepare
        for batch in stream.generate():
            # JAX takes no 64-bit integers unless told to; the step needs no entries.
            batch = longest(batch)
            batch = prepare(batch) if prepare else batch
            yield jax.device_put({name: array for name, array in batch.items() if name != "entries"})

    def finish(self, records: Records, left: int = 0):
        """Waits for steps until so many are left under way, and takes in what they found.

        Raises:
            NonFiniteError: the loss or a gradient of one is not finite.
        """
        while len(self.under_way) > left:
            number, result = self.under_way.popleft()
            for value, what in ((result.loss, "the loss"), (result.gradient, "a gradient")):
                if not np.isfinite(value):
                    raise NonFiniteError(f"step {number}: {what} is not finite, of the events {self.events(number)}")
            records.add(number, result.measures)

    def events(self, number: int) -> str:
        """The names of the events of a step, and what to do about them."""
        size, seed = self.config.data.minibatch_size, self.config.execution.seed
        entries = training_entries(seed, number - 1, size, len(self.reader))
        names = "; ".join(self.reader.name(int(entry)) for entry in entries)
        advice = "look at these events, or resume with a lower --learning_rate or with --clip_norm"
        return f"{names}: the checkpoints before it stay: {advice}"

    def save(self, number: int, records: Records):
        """Writes the checkpoint of a step."""
        self.finish(records)
        with records.progress.paused():
            step = self.step
            step.assign(self.state)
            manifest = self.config.manifest(ranks=1) | {"skipped": self.bad.record, "best": None}
            self.store.save(number, step.segmenter.network, step.optimizer.variables, manifest)
