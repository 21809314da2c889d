"""What a run shows in TensorBoard: scalars, pictures, hyperparameters, the graph, a profile."""

import re
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.hparams import summary_v2 as hparams

from cosmictagger_tf.config import Config
from cosmictagger_tf.config.quoting import join_list, readable
from cosmictagger_tf.detector import N_CLASSES
from cosmictagger_tf.errors import write_errors
from cosmictagger_tf.networks.predictor import Predictor
from cosmictagger_tf.training.callbacks import StepCallback
from cosmictagger_tf.training.dry_run import PART
from cosmictagger_tf.training.event_file import EventFile
from cosmictagger_tf.training.pictures import charge_picture, class_picture
from cosmictagger_tf.training.speed import is_due


class Scalars:
    """Every number of the records, one folder a split.

    Args:
        folder: the run's logs folder.
        every: write the training's record at every so many steps.
    """

    def __init__(self, folder: Path, every: int):
        self.folder, self.every, self.last_written = folder, every, 0
        self.files: dict[str, EventFile] = {}

    def write(self, record: dict):
        """Writes every number of a record as a scalar."""
        step, split = record["step"], record["split"]
        if split == "train" and not is_due(self.every, self.last_written, step):
            return
        self.last_written = step if split == "train" else self.last_written
        if split not in self.files:
            self.files[split] = EventFile(self.folder / split)
        self.files[split].add_scalars(step, {name: x for name, x in record.items() if isinstance(x, float)})

    def close(self):
        for file in self.files.values():
            file.close()


def write_hyperparameters(folder: Path, sections: dict[str, Config], run_id: str, validated: bool):
    """Writes the run's options for the HParams tab, and where its results are.

    Args:
        folder: the run's logs folder.
        sections: the configs.
        run_id: the trial's name.
        validated: there are results on the whole validation file.
    """
    values = {}
    for section, config in sections.items():
        for name, value in config.to_dict().items():
            text = join_list(tuple(value)) if isinstance(value, (list, tuple)) else value
            values[f"{section}.{name}"] = readable(text) if isinstance(text, str) else text
    group = "whole_validation" if validated else "train"
    metrics = [hparams.Metric(name, display_name=f"{group} {name}") for name in ("loss", "mean_iou")]
    # Beside the results: the tab does not find those of a folder below, where --logdir is the logs folder itself.
    file = EventFile(folder / group)
    file.add(0, summary=hparams.hparams_config_pb([hparams.HParam(name) for name in values], metrics))
    file.add(0, summary=hparams.hparams_pb(values, trial_id=readable(run_id)))
    file.close()


def write_graph(folder: Path, network: keras.Model):
    """Writes the network's layers and what they take from one another, for the Graphs tab."""
    file = EventFile(folder)
    file.add(0, graph_def=layer_graph(network).SerializeToString())
    file.close()


def layer_graph(network: keras.Model) -> GraphDef:
    """The layers of a functional model as the nodes of a graph, those of a part of the UResNet as one group."""
    graph = GraphDef()
    names = {layer.name: re.sub(f"^{PART.pattern}_", r"\1/", layer.name) for layer in network.operations}
    for layer in network.operations:
        # Keras's nodes are the calls of a layer.
        tensors = [tensor for call in layer._inbound_nodes for tensor in call.input_tensors]
        node = graph.node.add(name=names[layer.name], op=type(layer).__name__)
        node.input.extend(dict.fromkeys(names[tensor._keras_history.operation.name] for tensor in tensors))
    return graph


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
        super().__init__(progress, every, at_end=True)
        self.batch, self.shape, self.planes = batch, segmenter.shape, segmenter.shape.planes
        self.file, self.predictor = EventFile(folder), Predictor(segmenter, xla)
        # A graph for a picture now and then takes longer to make than it saves.
        self.predictor.run_eagerly = keras.backend.backend() == "tensorflow" and not xla

    def on_train_begin(self, logs=None):
        image, label = (self._dense(name) for name in ("image", "label"))
        pictures = {}
        for plane in range(self.planes):
            pictures[f"plane{plane}/input"] = charge_picture(image[plane])
            pictures[f"plane{plane}/label"] = class_picture(label[plane].astype(int))
        self.file.add_pictures(self.progress.start, pictures)

    def _dense(self, name):
        dense = np.zeros((self.planes, self.shape.height, self.shape.width), np.float32)
        coordinates, values = (np.asarray(self.batch[f"{name}_{what}"])[0] for what in ("coordinates", "values"))
        plane, place = np.nonzero(coordinates[..., 0] >= 0)
        dense[plane, coordinates[plane, place, 0], coordinates[plane, place, 1]] = values[plane, place]
        return dense

    def act(self, step):
        with self.progress.paused():
            with self.model.averaged_weights():
                scores = self.predictor.predict_on_batch(self.batch)[0]
            classes = np.where(np.isfinite(scores).all(axis=-1), np.argmax(scores, axis=-1), N_CLASSES)
            pictures = {f"plane{plane}/prediction": class_picture(classes[plane]) for plane in range(self.planes)}
            self.file.add_pictures(step, pictures)

    def on_train_end(self, logs=None):
        self.file.close()


def _tensorflow_profiler():
    import tensorflow as tf

    profiler = tf.profiler.experimental
    return profiler.start, profiler.stop, partial(profiler.Trace, _r=1)


def _jax_profiler():
    import jax

    return jax.profiler.start_trace, jax.profiler.stop_trace, jax.profiler.StepTraceAnnotation


# By Keras backend: a function that gives start(folder), stop() and step(name, step_num=N), the context of a step.
PROFILERS = {"tensorflow": _tensorflow_profiler, "jax": _jax_profiler}


class Profile(keras.callbacks.Callback):
    """Traces some steps for the Profile tab, with the profiler of a backend that has one in PROFILERS.

    Args:
        progress: see Progress.
        folder: of the event files; the trace comes below it, in plugins/profile.
        first, last: the steps, counted from 1; executions are traced whole.
        steps_per_execution: as given to compile.
    """

    def __init__(self, progress, folder: Path, first: int, last: int, steps_per_execution: int = 1):
        super().__init__()
        self.progress, self.folder = progress, folder
        self.first, self.last, self.steps_per_execution = first, last, steps_per_execution
        self.start, self.stop, self.traced = PROFILERS[keras.backend.backend()]()
        # JAX takes no folder whose name is not UTF-8.
        self.scratch: tempfile.TemporaryDirectory | None = None
        self.trace: Any = None

    def on_train_batch_begin(self, batch, logs=None):
        """Starts the trace, and names the step in it."""
        step = self.progress.step(batch)
        # Of the steps of one execution, the first is named.
        if not self.scratch and step <= self.last and step + self.steps_per_execution > self.first:
            self.scratch = tempfile.TemporaryDirectory(prefix="profile")
            self.start(self.scratch.name)
        if self.scratch:
            self.trace = self.traced("train", step_num=step)
            self.trace.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        """Ends the step in the trace, and after the last one the trace."""
        if self.trace:
            self.trace.__exit__(None, None, None)
            self.trace = None
        if self.progress.step(batch) >= self.last:
            self._finish()

    def on_train_end(self, logs=None):
        self._finish()

    def _finish(self):
        if not self.scratch:
            return
        with self.progress.paused(), self.scratch as made:
            with write_errors(made):
                self.stop()
            with write_errors(self.folder):
                shutil.copytree(f"{made}/plugins", self.folder / "plugins", dirs_exist_ok=True)
        self.scratch = None
