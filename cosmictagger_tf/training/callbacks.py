"""What happens between the steps of model.fit: records, validation, checkpoints, a clean stop."""

import signal
import time

import keras

from cosmictagger_tf.training.checkpoints import CheckpointStore


class Recorder(keras.callbacks.Callback):
    """Gives the metrics, averaged over the steps since its last record, to the recorders.

    Args:
        recorders: objects with write(record); see recorders.py.
        intervals: a record is made at every step that one of these divides, and at the last.
        start_step: steps done before this fit.
        total: the last step.
        images_per_step: events of a global batch.
        waited: function giving the seconds that steps have waited for data so far.
    """

    def __init__(self, recorders, intervals, start_step, total, images_per_step, waited):
        super().__init__()
        self.recorders, self.intervals, self.images_per_step = recorders, intervals, images_per_step
        self.start_step, self.total, self.waited = start_step, total, waited

    def on_train_begin(self, logs=None):
        """Starts the clock."""
        self.mark = (time.perf_counter(), self.waited(), self.start_step)

    def on_train_batch_end(self, batch, logs=None):
        """Makes a record where one is due."""
        step = self.start_step + batch + 1
        if step != self.total and all(step % interval for interval in self.intervals):
            return
        now, waited = time.perf_counter(), self.waited()
        began, waited_before, step_before = self.mark
        seconds, steps = max(now - began, 1e-9), step - step_before
        speed = {
            "images_per_second": steps * self.images_per_step / seconds,
            "waiting": min(1.0, (waited - waited_before) / seconds),
            "seconds_left": (self.total - step) * seconds / steps,
        }
        for recorder in self.recorders:
            recorder.write({"split": "train", "step": step, **logs, **speed})
        self.model.reset_metrics()
        self.mark = (now, waited, step)


class Validation(keras.callbacks.Callback):
    """Evaluates one batch of the validation data every so many steps.

    Args:
        evaluator: see evaluation.py.
        batches: an endless iterator of validation Batches.
        every: steps between two validations.
        recorders: see Recorder.
        start_step: steps done before this fit.
    """

    def __init__(self, evaluator, batches, every, recorders, start_step):
        super().__init__()
        self.evaluator, self.batches, self.every = evaluator, batches, every
        self.recorders, self.start_step = recorders, start_step

    def on_train_batch_end(self, batch, logs=None):
        """Validates where it is due."""
        step = self.start_step + batch + 1
        if step % self.every:
            return
        record = self.evaluator.table(next(self.batches)).summary()
        for recorder in self.recorders:
            recorder.write({"split": "validation", "step": step, **record})


class Checkpoints(keras.callbacks.Callback):
    """Saves a checkpoint every so many steps and at the end.

    Args:
        store: where to.
        every: steps between two checkpoints.
        start_step: steps done before this fit.
        record: what the manifests say of the run.
    """

    def __init__(self, store: CheckpointStore, every: int, start_step: int, record: dict):
        super().__init__()
        self.store, self.every, self.record = store, every, record
        self.step = self.saved = start_step

    def on_train_batch_end(self, batch, logs=None):
        """Saves where it is due."""
        self.step += 1
        if self.step % self.every == 0:
            self.save()

    def on_train_end(self, logs=None):
        """Saves what is not saved yet."""
        if self.step > self.saved:
            self.save()

    def save(self):
        """Writes the checkpoint of the present step."""
        self.store.save(self.step, self.model.network, self.model.state_variables, self.record)
        self.saved = self.step


class CleanStop(keras.callbacks.Callback):
    """Turns SIGTERM and SIGINT into a stop after the present step, so that the last checkpoint is of that step.

    Attributes:
        exit_status: None, or 128 + the signal's number once one came (143 for SIGTERM, 130 for SIGINT).
    """

    def __init__(self):
        super().__init__()
        self.exit_status = None
        self.handlers = {}

    def on_train_begin(self, logs=None):
        """Takes over the signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.handlers[number] = signal.signal(number, self._stop)

    def _stop(self, number, frame):
        self.exit_status = 128 + number
        # A second signal acts at once.
        signal.signal(number, self.handlers[number])

    def on_train_batch_end(self, batch, logs=None):
        """Stops fit where a signal has come."""
        if self.exit_status is not None:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        """Gives the signals back."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)


class RestoredMetrics(keras.callbacks.Callback):
    """Gives the metrics back the state that a checkpoint had: fit resets them when it begins.

    Args:
        metrics: the Keras metrics, as restored.
    """

    def __init__(self, metrics):
        super().__init__()
        self.values = [(variable, variable.numpy()) for metric in metrics for variable in metric.variables]

    def on_epoch_begin(self, epoch, logs=None):
        """Puts the state back."""
        for variable, value in self.values:
            variable.assign(value)
