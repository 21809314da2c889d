"""What happens between the steps of model.fit: records, validation, checkpoints, a clean stop."""

import abc
import contextlib
import signal
from collections.abc import Iterable

import keras
import numpy as np

from cosmictagger_tf.clean_stop import CaughtSignals
from cosmictagger_tf.errors import NonFiniteError
from cosmictagger_tf.progress import activity
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.checkpoints.store import CheckpointStore
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.evaluation import join
from cosmictagger_tf.training.speed import Progress, Readings, is_due, speed_between


class StepCallback(keras.callbacks.Callback, abc.ABC):
    """A callback that acts after some of the steps; with steps_per_execution at the ends of their executions.

    Between them nothing reads the model, which on JAX would bring all of its state to the variables.

    Args:
        progress: see Progress.
        intervals: steps between two of its actions, one number or several; need not be integers, 0 = never.
        at_end: it acts at the last step too.
    """

    def __init__(self, progress: Progress, *intervals: float, at_end: bool = False):
        super().__init__()
        self.progress, self.intervals, self.at_end = progress, intervals, at_end
        self.last_step = progress.start

    def on_train_batch_end(self, batch, logs=None):
        before, self.last_step = self.last_step, self.progress.step(batch)
        if self.due(before, self.last_step):
            self.model.sync()
            self.act(self.last_step)

    def due(self, before: int, step: int) -> bool:
        """Whether to act after the steps before + 1, ..., step."""
        if self.at_end and step == self.progress.total:
            return True
        return any(is_due(every, before, step) for every in self.intervals)

    @abc.abstractmethod
    def act(self, step: int):
        """Acts after a step, which is the present one."""


class ShownSteps(keras.callbacks.Callback):
    """Shows that the first step is being prepared, and from then on the steps that are done.

    Args:
        progress: see Progress.
        terminal: see recorders.Terminal; None on ranks that show nothing.
        compiled: whether steps are compiled as a whole.
    """

    def __init__(self, progress: Progress, terminal, compiled: bool):
        super().__init__()
        self.progress, self.terminal = progress, terminal
        self.what = f"{'compiling' if compiled else 'tracing'} the training step"
        self.first_step = contextlib.ExitStack()

    def on_train_begin(self, logs=None):
        self.first_step.enter_context(activity(self.what))

    def on_train_batch_end(self, batch, logs=None):
        self.first_step.close()
        if self.terminal:
            self.terminal.show_step(self.progress.step(batch))


class Recorder(StepCallback):
    """Gives the metrics, averaged over the steps since its last record, to the recorders.

    Args:
        progress: see Progress.
        recorders: objects with write(record); see recorders.py.
        intervals: a record is made at every step that one of these divides, and at the last.
        images_per_step: events of a global batch.
        waited: function giving the seconds that steps have waited for data so far.
        learning_rate: function giving the rate of a step, counted from 0.
    """

    def __init__(self, progress, recorders, intervals, images_per_step, waited, learning_rate):
        super().__init__(progress, *intervals, at_end=True)
        self.recorders, self.images_per_step = recorders, images_per_step
        self.waited, self.learning_rate = waited, learning_rate

    def on_train_begin(self, logs=None):
        self.mark = self._now(self.progress.start)

    def _now(self, step) -> Readings:
        exchange = self.model.exchange
        exchanging = exchange.seconds_spent() if exchange else 0.0
        return Readings.now(step, self.progress.paused_seconds, self.waited(), exchanging)

    def act(self, step):
        now = self._now(step)
        speed = speed_between(self.mark, now, self.progress.total, self.images_per_step)
        speed["learning_rate"] = float(self.learning_rate(step - 1))
        self.model.collect_metrics()
        metrics = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        for recorder in self.recorders:
            recorder.write({"split": "train", "step": step, **metrics, **speed})
        self.model.reset_metrics()
        self.mark = now


class FiniteStop(keras.callbacks.Callback):
    """Stops the training where the guard made no update because a number is not finite; before the callbacks that read.

    Args:
        progress: see Progress.
        events: function giving the names of this rank's events in a step, counted from 0.
        ranks: stop together; those with the fault report it.
        callbacks: those after it: before one of them reads the model it looks, on JAX too.
    """

    ADVICE = (
        "it made no update, and the checkpoints before it stay: look at these events, or resume with a lower "
        "--learning_rate or with --clip_norm"
    )

    def __init__(self, progress: Progress, events, ranks: Ranks, callbacks: Iterable[keras.callbacks.Callback] = ()):
        super().__init__()
        self.progress, self.events, self.ranks = progress, events, ranks
        self.readers = [callback for callback in callbacks if isinstance(callback, StepCallback)]

    def on_train_batch_end(self, batch, logs=None):
        """Looks at every step; on JAX, where that costs, only if there is a reason to."""
        step, jax = self.progress.step(batch), keras.backend.backend() == "jax"
        wrong = not np.isfinite((logs or {}).get("loss", 0.0))
        if not jax or wrong or any(reader.due(reader.last_step, step) for reader in self.readers):
            self.look(wrong)
        if jax and wrong:
            # To the loss scale, which halves, its gradients were an overflow.
            self.stop(step - 1, wrong)

    def on_epoch_end(self, epoch, logs=None):
        self.look()

    def look(self, wrong_loss: bool = False):
        """Raises NonFiniteError where it must; `wrong_loss`: the loss of the step is known to be no number."""
        self.model.sync()
        if int(self.model.guard.fault.numpy()):
            self.stop(self.progress.start + int(self.model.guard.steps.numpy()), wrong_loss)

    def stop(self, step: int, wrong_loss: bool):
        """Raises NonFiniteError for a step, counted from 0."""
        with self.ranks.agreed():
            if self.model.is_to_blame():
                # A head's loss is not in the metrics.
                known = self.model.segmentation.unsound_losses or float(self.model.guard.loss_fault.numpy())
                what = "the loss" if wrong_loss or known else "a gradient"
                events = "; ".join(self.events(step))
                raise NonFiniteError(f"step {step + 1}: {what} is not finite, of the events {events}: {self.ADVICE}")


class SkippedEvents(keras.callbacks.Callback):
    """Counts the bad events that the training has skipped.

    Args:
        bad_events: function giving the errors of the first so many steps of this fit, on this rank.
        bad: counts them.
    """

    def __init__(self, bad_events, bad: BadEvents):
        super().__init__()
        self.bad_events, self.bad, self.steps = bad_events, bad, 0

    def on_train_batch_end(self, batch, logs=None):
        """Counts; with several ranks in the step after which all know that one of them has read a bad event."""
        self.steps = batch + 1
        exchange = self.model.exchange
        if exchange is None or exchange.take("bad events"):
            self.count()
        if exchange and self.bad.is_new(self.bad_events(self.steps)):
            exchange.request("bad events")

    def count(self):
        """Counts; all ranks together."""
        self.bad.count(self.bad_events(self.steps))


class Validation(StepCallback):
    """Evaluates a few batches of the validation data every so many steps.

    Args:
        progress: see Progress.
        evaluator: see evaluation.py.
        stream: an endless BatchStream of validation Batches.
        count: how many are evaluated.
        every: steps between two validations.
        recorders: see Recorder.
        ranks: share the batches.
        bad: counts the bad events.
    """

    def __init__(self, progress, evaluator, stream, count, every, recorders, ranks: Ranks, bad: BadEvents):
        super().__init__(progress, every)
        self.evaluator, self.stream, self.count, self.ranks, self.bad = evaluator, stream, count, ranks, bad
        self.recorders = recorders
        self.batches, self.used = stream.generate(), 0

    def act(self, step):
        with self.progress.paused(), self.model.averaged_weights():
            self.model.share_statistics()
            mine = [self.evaluator.table(next(self.batches), self.stream.reader) for _ in range(self.count)]
            self.used += self.count
            self.bad.count(self.stream.bad_events(self.used))
            self.bad.log_left_out([error for _, errors in mine for error in errors])
            table = join([table for tables in self.ranks.gather([table for table, _ in mine]) for table in tables])
        if not len(table.entries):
            return
        for recorder in self.recorders:
            recorder.write({"split": "validation", "step": step, **table.summary()})


class Checkpoints(StepCallback):
    """Saves a checkpoint every so many steps and at the end.

    Args:
        progress: see Progress.
        store: where to.
        every: steps between two checkpoints.
        record: what the manifests hold of the run.
        ranks: rank 0 of these writes.
        skipped: its bad events are part of the manifests.
    """

    def __init__(
        self, progress, store: CheckpointStore, every: int, record: dict, ranks: Ranks, skipped: SkippedEvents
    ):
        super().__init__(progress, every)
        self.store, self.record, self.ranks, self.skipped = store, record, ranks, skipped
        self.saved = progress.start

    def act(self, step):
        self.save(step)

    def on_epoch_end(self, epoch, logs=None):
        """Saves what is not saved yet: fit has one epoch, and after it puts the moving average into the weights."""
        self.save(self.last_step)

    def save(self, step: int, best: dict | None = None):
        """Writes the checkpoint of the present step, unless it is written.

        Args:
            step: the present one.
            best: where it is the best so far, by which values; part of the manifest.

        Raises:
            NonFiniteError: a weight is not finite; the checkpoints before it stay.
            WriteError: the disk is full.
        """
        if step == self.saved:
            return
        with self.progress.paused():
            model = self.model
            self.skipped.count()
            model.collect_metrics()
            model.share_statistics()
            if self.ranks.rank == 0:
                record = self.record | {"skipped": self.skipped.bad.record, "best": best}
                self.store.save(step, model.network, model.state, record, model.averaged_weights())
        self.saved = step

    def save_if_best(self, step: int, name: str, record: dict):
        """Writes a checkpoint, and keeps it as the best, if its value of this name is above that of the best so far.

        A best one that was chosen by another measure gives way.
        """
        best = self.ranks.decided(self.store.best)
        if best is None or name not in best or record[name] > best[name]:
            self.save(step, record)
            if self.ranks.rank == 0:
                self.store.mark_best(step, record)


class WholeValidation(StepCallback):
    """Evaluates the whole validation data every so many epochs and after the last step; keeps the best checkpoint.

    Args:
        progress: see Progress.
        evaluate: function that evaluates the network as it is and gives an EventTable.
        every: steps between two validations; need not be an integer.
        recorders: see Recorder.
        checkpoints: where the checkpoint with the highest selection_score is kept; of a network without an event head,
            and where the validation data lack readouts with or without a neutrino, with the highest mean_iou.
    """

    MEASURES = ("selection_score", "mean_iou")

    def __init__(self, progress, evaluate, every: float, recorders, checkpoints: Checkpoints):
        super().__init__(progress, every, at_end=True)
        self.evaluate, self.recorders, self.checkpoints = evaluate, recorders, checkpoints

    def act(self, step):
        with self.progress.paused(), self.model.averaged_weights():
            self.model.share_statistics()
            table = self.evaluate()
        if not len(table.entries):
            return
        summary = table.summary()
        for recorder in self.recorders:
            recorder.write({"split": "whole_validation", "step": step, **summary})
        chosen_by = next(name for name in self.MEASURES if name in summary)
        self.checkpoints.save_if_best(step, chosen_by, {name: summary[name] for name in (chosen_by, "loss")})


class CleanStop(keras.callbacks.Callback):
    """Turns SIGTERM and SIGINT into a stop after the present step, so that the last checkpoint is of that step."""

    def __init__(self):
        super().__init__()
        self.caught = CaughtSignals()
        self.agreed_status: int | None = None

    @property
    def exit_status(self) -> int | None:
        """None, or 128 + a signal's number once one came, to this rank or another (143 for SIGTERM, 130 for SIGINT)."""
        return self.agreed_status or self.caught.exit_status

    def on_train_begin(self, logs=None):
        self.caught.take()

    def on_train_batch_begin(self, batch, logs=None):
        """Sends a signal to the other ranks."""
        if self.model.exchange and self.caught.number is not None:
            self.model.exchange.request(self.caught.number.name)

    def on_train_batch_end(self, batch, logs=None):
        """Stops fit where a signal has come, with other ranks where one of them got it: after the same step."""
        if self.model.exchange:
            signals = [name for name in self.model.exchange.shared_requests() if name in signal.Signals.__members__]
            self.agreed_status = 128 + signal.Signals[signals[0]] if signals else self.agreed_status
            self.model.stop_training = bool(signals)
        elif self.exit_status is not None:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.caught.give_back()


class RanksChange(keras.callbacks.Callback):
    """Where ranks come or go: saves, and leaves this fit for another with the new ranks.

    Args:
        checkpoints: where to save.
    """

    def __init__(self, checkpoints: Checkpoints):
        super().__init__()
        self.checkpoints = checkpoints

    def on_train_batch_begin(self, batch, logs=None):
        """Sends a change to the other ranks."""
        if self.model.exchange.ranks.changed():
            self.model.exchange.request("ranks")

    def on_train_batch_end(self, batch, logs=None):
        # Where a signal stops the fit in the same step, it is over.
        if "ranks" in self.model.exchange.shared_requests() and not self.model.stop_training:
            self.checkpoints.save(self.checkpoints.last_step)
            self.model.exchange.ranks.begin_again()


class RestoredMetrics(keras.callbacks.Callback):
    """Restores the metrics of a checkpoint: fit resets them when it begins.

    Args:
        metrics: the Keras metrics, as restored.
    """

    def __init__(self, metrics):
        super().__init__()
        self.values = [(v, np.array(v.numpy())) for metric in metrics for v in metric.variables]

    def on_epoch_begin(self, epoch, logs=None):
        for variable, value in self.values:
            variable.assign(value)
