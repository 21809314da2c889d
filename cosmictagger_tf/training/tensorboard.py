"""What a run shows in TensorBoard: scalars, pictures, hyperparameters, the graph, a profile."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cosmictagger_tf.config import Config
from cosmictagger_tf.config.text import join_list, readable
from cosmictagger_tf.detector import N_CLASSES
from cosmictagger_tf.errors import write_errors
from cosmictagger_tf.networks.segmentation import scores_of
from cosmictagger_tf.training.callbacks import StepCallback
from cosmictagger_tf.training.pictures import charge_picture, class_picture
from cosmictagger_tf.training.speed import is_due


def open_writer(folder: Path):
    """The writer of a new event file; TensorFlow takes a folder in UTF-8, or in the file system's bytes."""
    with write_errors(folder):
        return tf.summary.create_file_writer(os.fsencode(folder))


@contextlib.contextmanager
def writing(folder: Path, writer, step: int) -> Iterator[None]:
    """Within it tf.summary writes to the event file of a folder, of a step; raises WriteError where the system refuses.

    Here, since TensorFlow says of a file that grows too large what fit takes for the end of the data.
    """
    with write_errors(folder), writer.as_default(step=step):
        yield


class Scalars:
    """Every number of the records, one folder a split.

    Args:
        folder: the run's logs folder.
        every: write the training's record at every so many steps.
    """

    def __init__(self, folder: Path, every: int):
        self.folder, self.every, self.last_written = folder, every, 0
        self.writers: dict = {}

    def writer(self, split: str):
        """The event file of a split."""
        if split not in self.writers:
            self.writers[split] = open_writer(self.folder / split)
        return self.writers[split]

    def write(self, record: dict):
        """Writes every number of a record as a scalar."""
        step, split = record["step"], record["split"]
        if split == "train" and not is_due(self.every, self.last_written, step):
            return
        self.last_written = step if split == "train" else self.last_written
        with writing(self.folder, self.writer(split), step):
            for name, value in record.items():
                if isinstance(value, float):
                    tf.summary.scalar(name, value)

    def close(self):
        """Flushes and closes the files."""
        with write_errors(self.folder):
            for writer in self.writers.values():
                writer.close()


def write_hyperparameters(folder: Path, sections: dict[str, Config], run_id: str, validated: bool):
    """Tells the HParams tab the run's options and where its results are.

    Args:
        folder: the run's logs folder.
        sections: the configs.
        run_id: the trial's name.
        validated: there are results on the whole validation file.
    """
    from tensorboard.plugins.hparams import api

    values = {}
    for section, config in sections.items():
        for name, value in config.to_dict().items():
            text = join_list(tuple(value)) if isinstance(value, (list, tuple)) else value
            values[f"{section}.{name}"] = readable(text) if isinstance(text, str) else text
    group = "whole_validation" if validated else "train"
    metrics = [api.Metric(name, display_name=f"{group} {name}") for name in ("loss", "mean_iou")]
    # Beside the results: the tab does not find those of a folder below, where --logdir is the logs folder itself.
    writer = open_writer(folder / group)
    with writing(folder, writer, 0):
        api.hparams_config(hparams=[api.HParam(name) for name in values], metrics=metrics)
        api.hparams(values, trial_id=readable(run_id))
    writer.close()


def write_graph(folder: Path, network: keras.Model):
    """Writes the network's graph for the Graphs tab."""
    inputs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype, x.name), network.input)
    traced = tf.function(lambda x: network(x, training=False)).get_concrete_function(inputs)
    writer = open_writer(folder)
    with writing(folder, writer, 0):
        tf.summary.graph(traced.graph)
    writer.close()


class Pictures(StepCallback):
    """Draws input, label and prediction of one event, plane by plane.

    Args:
        progress: see Progress.
        segmenter: see networks/segmentation.py.
        batch: a prepared Batch of one event.
        folder: of the event file.
        every: steps between two pictures.
        xla: compile the prediction.
    """

    def __init__(self, progress, segmenter, batch, folder: Path, every: int, xla: bool):
        super().__init__(progress)
        self.batch, self.every, self.planes = batch, every, segmenter.shape.planes
        self.shape = segmenter.shape
        self.folder, self.writer = folder, open_writer(folder)
        self.predict = tf.function(lambda batch: scores_of(segmenter.logits(batch)), jit_compile=xla)

    def on_train_begin(self, logs=None):
        """Draws what stays the same."""
        image, label = (self._dense(name) for name in ("image", "label"))
        with writing(self.folder, self.writer, self.progress.start):
            for plane in range(self.planes):
                tf.summary.image(f"plane{plane}/input", charge_picture(image[plane])[None])
                tf.summary.image(f"plane{plane}/label", class_picture(label[plane].astype(int))[None])

    def _dense(self, name):
        dense = np.zeros((self.planes, self.shape.height, self.shape.width), np.float32)
        coordinates, values = (np.asarray(self.batch[f"{name}_{what}"])[0] for what in ("coordinates", "values"))
        plane, place = np.nonzero(coordinates[..., 0] >= 0)
        dense[plane, coordinates[plane, place, 0], coordinates[plane, place, 1]] = values[plane, place]
        return dense

    def after_steps(self, before, step, logs):
        """Draws the prediction where it is due."""
        if step != self.progress.total and not is_due(self.every, before, step):
            return
        with self.progress.paused():
            with self.model.averaged_weights():
                scores = self.predict(self.batch).numpy()[0]
            classes = np.where(np.isfinite(scores).all(axis=-1), np.argmax(scores, axis=-1), N_CLASSES)
            with writing(self.folder, self.writer, step):
                for plane in range(self.planes):
                    tf.summary.image(f"plane{plane}/prediction", class_picture(classes[plane])[None])

    def on_train_end(self, logs=None):
        """Closes the file."""
        self.writer.close()


class Profile(StepCallback):
    """Traces some steps for the Profile tab.

    Args:
        progress: see Progress.
        folder: of the event files; the trace comes below it, in plugins/profile.
        first, last: the steps, counted from 1; whole stretches are traced.
        stretch: steps that are done at a stretch.
    """

    def __init__(self, progress, folder: Path, first: int, last: int, stretch: int = 1):
        super().__init__(progress)
        self.folder, self.first, self.last, self.stretch = folder, first, last, stretch
        self.running = False
        self.trace: Any = None

    def on_train_batch_begin(self, batch, logs=None):
        """Starts the trace, and names the step in it."""
        step = self.progress.step(batch)
        # Of steps at a stretch, the first is named.
        if not self.running and step <= self.last and step + self.stretch > self.first:
            tf.profiler.experimental.start(os.fsencode(self.folder))
            self.running = True
        if self.running:
            self.trace = tf.profiler.experimental.Trace("train", step_num=step, _r=1)
            self.trace.__enter__()

    def after_steps(self, before, step, logs):
        """Ends the step in the trace, and after the last one the trace."""
        if self.trace:
            self.trace.__exit__(None, None, None)
            self.trace = None
        if step >= self.last:
            self._stop()

    def on_train_end(self, logs=None):
        """Ends the trace of a training that is shorter."""
        self._stop()

    def _stop(self):
        if self.running:
            self.running = False
            with self.progress.paused():
                tf.profiler.experimental.stop()
