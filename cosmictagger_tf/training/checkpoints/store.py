"""Checkpoints: one folder a step, complete or absent, verified when read.

<run>/checkpoints/step_00000100/
    network.weights.h5   the network's weights, as Keras saves them (any Keras backend loads them)
    state.npz            optimizer and metrics, by name (plain arrays, no pickle); see SegmentationModel.state
    manifest.json        step, SHA-256 of each file, and what the run recorded about itself
<run>/checkpoints/best.json names the step with the best validation, which is kept however old it is.

Where a moving average of the weights is kept (--ema_momentum), network.weights.h5 holds the average, and state.npz also
the weights themselves, with which training resumes.
"""

import contextlib
import io
import logging
import re
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np

from cosmictagger_tf.config import NetworkConfig
from cosmictagger_tf.errors import NonFiniteError, read_errors, write_errors
from cosmictagger_tf.files import flush, read_json, replaced_folder, sha256, write_arrays, write_json
from cosmictagger_tf.runs import architecture
from cosmictagger_tf.training.checkpoints.weights import CheckpointError, load_weights, values_of

log = logging.getLogger(__name__)

WEIGHTS_FILE, STATE_FILE, MANIFEST_FILE = "network.weights.h5", "state.npz", "manifest.json"
BEST_FILE = "best.json"
# Given instead of a step.
NEWEST, BEST = -1, -2
FORMAT = 2
# Before it a state's arrays went by their places; on TensorFlow METRICS_BY_PLACE of them were metrics.
BY_PLACE, METRICS_BY_PLACE = 1, 5


class _Memory(io.BytesIO):
    """Where Keras writes weights to: where it writes them to a disk that is full, HDF5 crashes."""

    def __str__(self):
        # Keras looks at the ending of the name.
        return WEIGHTS_FILE


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: where they are; made when the first one is written.
        keep: how many of the newest stay when a new one is written, beside the best.
        architecture: recorded in each checkpoint, and compared where one is verified; None = not compared.
        history: a file whose lines up to a checkpoint's step go with it: it is on the disk before the checkpoint is.
    """

    def __init__(self, folder: Path, keep: int = 3, architecture: dict | None = None, history: Path | None = None):
        self.folder, self.keep, self.architecture, self.history = Path(folder), keep, architecture, history

    def path(self, step: int) -> Path:
        """The folder of one step's checkpoint."""
        return self.folder / f"step_{step:08d}"

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, oldest first."""
        with read_errors(self.folder):
            names = [p.name for p in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(m.group(1)) for m in map(re.compile(r"step_(\d{8,})").fullmatch, names) if m)

    def save(self, step: int, network: keras.Model, state: dict, record: dict, averaged=None) -> Path:
        """Writes a checkpoint, then removes the oldest beyond `keep`.

        Args:
            step: training steps done.
            network: its weights are saved.
            state: the other Keras variables, by names that are the same at every start.
            record: what the manifest holds beside the checksums (JSON values).
            averaged: optional context manager, in which the network holds the weights to save; the state is saved
                outside it.

        Raises:
            NonFiniteError: a weight is not finite; the checkpoints before it stay.
            WriteError: the disk is full.
        """
        wrong = [weight.path for weight in network.weights if not np.isfinite(values_of(weight)).all()]
        if wrong:
            raise NonFiniteError(f"step {step}: {wrong[0]} is not finite: no checkpoint is written")
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if self.history is not None:
            with write_errors(self.history):
                flush(self.history)
        with replaced_folder(self.path(step)) as beside:
            with averaged or contextlib.nullcontext():
                weights = _Memory()
                network.save_weights(weights)
            (beside / WEIGHTS_FILE).write_bytes(weights.getbuffer())
            write_arrays(beside / STATE_FILE, {name: values_of(variable) for name, variable in state.items()})
            checksums = {name: sha256(beside / name) for name in (WEIGHTS_FILE, STATE_FILE)}
            manifest = {
                "format": FORMAT,
                "step": step,
                "sha256": checksums,
                "architecture": self.architecture,
                **record,
            }
            write_json(beside / MANIFEST_FILE, manifest)
        self._drop_old()
        return self.path(step)

    def _drop_old(self):
        best = self.best()
        for old in self.steps()[: -self.keep]:
            if best is None or old != best["step"]:
                shutil.rmtree(self.path(old))

    def best(self) -> dict | None:
        """What mark_best recorded, and its "step"; None where nothing was, or the checkpoint is gone."""
        try:
            best = read_json(self.folder / BEST_FILE)
            return best if best["step"] in self.steps() else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def mark_best(self, step: int, record: dict):
        """Names a step's checkpoint the best, to be kept; the one named before may go."""
        write_json(self.folder / BEST_FILE, {"step": step, **record})
        self._drop_old()

    def remember_best(self, manifest: dict):
        """Names a checkpoint the best where its manifest does, and the process ended before best.json did."""
        best = self.best()
        if manifest.get("best") and (best is None or best["step"] < manifest["step"]):
            self.mark_best(manifest["step"], manifest["best"])

    def forget_best_after(self, step: int):
        """Forgets a best checkpoint of a later step: the run resumes before it."""
        best = self.best()
        if best and best["step"] > step:
            (self.folder / BEST_FILE).unlink()

    def verify(self, step: int) -> dict:
        """The manifest of a checkpoint whose every file is intact.

        Raises:
            CheckpointError: something is wrong with it; the message names what.
            ReadError: the system refuses to read a file of it.
        """
        folder = self.path(step)
        try:
            manifest = read_json(folder / MANIFEST_FILE)
            checksums = dict(manifest["sha256"])
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            raise CheckpointError(f"checkpoint {folder}: {MANIFEST_FILE} is missing or broken") from None
        if manifest.get("format") not in (BY_PLACE, FORMAT):
            raise CheckpointError(
                f"checkpoint {folder}: format {manifest.get('format')} is of another version of cosmictagger_tf, "
                f"this one reads {BY_PLACE} and {FORMAT}"
            )
        if manifest.get("step") != step:
            raise CheckpointError(
                f"checkpoint {folder}: {MANIFEST_FILE} is altered: it has step {manifest.get('step')}"
            )
        ours, theirs = self.architecture or {}, manifest.get("architecture")
        # An option that the checkpoint does not record is younger than it, and had its default.
        theirs = architecture(NetworkConfig()) | theirs if isinstance(theirs, dict) else ours
        names = [name for name in ours if name in theirs and theirs[name] != ours[name]]
        if names:
            shown = "; ".join(f"--{name}: {theirs[name]}, not {ours[name]}" for name in names)
            raise CheckpointError(f"checkpoint {folder}: is of another architecture ({shown})")
        for name in (WEIGHTS_FILE, STATE_FILE):
            try:
                altered = sha256(folder / name) != checksums.get(name)
            except FileNotFoundError:
                altered = True
            if altered:
                raise CheckpointError(f"checkpoint {folder}: {name} is missing, cut short or altered")
        return manifest

    def newest_valid(self) -> dict | None:
        """The manifest of the newest intact checkpoint, None where there is none; the log names those skipped.

        Raises:
            ReadError: the system refuses to read one: nothing is known to be wrong with it, so that it is not skipped.
        """
        for step in reversed(self.steps()):
            try:
                return self.verify(step)
            except CheckpointError as error:
                log.info(f"skipped: {error}")
        return None

    def restore(self, network: keras.Model, state: dict) -> dict | None:
        """Loads the newest intact checkpoint, to resume from it; those of later steps are renamed.

        Args:
            network, state: as given to save.

        Returns:
            Its manifest; None where there are no checkpoints.

        Raises:
            CheckpointError: there are checkpoints, but none is intact.
        """
        manifest = self.newest_valid()
        if manifest is None:
            if self.steps():
                raise CheckpointError(
                    f"{self.folder}: no checkpoint in it can be used: use another --run_id to start again"
                )
            return None
        step = manifest["step"]
        self.load_network(step, network)
        self.load_state(step, state, manifest["format"])
        self.forget_best_after(step)
        for path in self.set_aside_after(step):
            log.info(f"set aside: {path}")
        self.remember_best(manifest)
        log.info(f"resumed from {self.path(step)}")
        if manifest["format"] == BY_PLACE:
            log.info("it is of an older version: the first record counts only the steps after it")
        return manifest

    def set_aside_after(self, step: int) -> list[Path]:
        """Renames the checkpoints of later steps, which cannot be used, so that they neither count nor get lost."""
        renamed = []
        for later in self.steps():
            if later > step:
                path = self.path(later).with_suffix(".set_aside")
                shutil.rmtree(path, ignore_errors=True)
                renamed.append(self.path(later).rename(path))
        return renamed

    def load_network(self, step: int, network: keras.Model):
        """Loads a checkpoint's weights into a network."""
        load_weights(self.path(step) / WEIGHTS_FILE, network)

    def load_state(self, step: int, state: dict, form: int = FORMAT):
        """Loads the variables given to save; metrics that it has not, or has otherwise, stay as they are.

        Args:
            form: the checkpoint's format.

        Raises:
            CheckpointError: the file is broken, or of another optimizer.
        """
        file = self.path(step) / STATE_FILE
        try:
            with read_errors(file), np.load(file, allow_pickle=False) as opened:
                arrays = {name: opened[name] for name in sorted(opened.files)}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"checkpoint {file}: holds no plain arrays ({error})") from None
        if form == BY_PLACE:
            arrays = named_by_place(arrays, state)
        needed = {name for name in state if not name.startswith("metrics/")}
        stored = {name for name in arrays if not name.startswith("metrics/")}
        fitting = {name for name in state if name in arrays and arrays[name].shape == tuple(state[name].shape)}
        if needed != stored or not needed <= fitting:
            other = min(needed.symmetric_difference(stored) or needed - fitting)
            raise CheckpointError(f"checkpoint {file}: holds the state of another optimizer ({other} differs)")
        for name in fitting:
            state[name].assign(arrays[name])


def named_by_place(arrays: dict, state: dict) -> dict:
    """The arrays of a checkpoint of format 1 by today's names, without its metrics; nothing where they do not fit.

    There the order of a state was: on TensorFlow the step, the optimizer, the metrics, and the weights beside their
    moving average; on JAX the optimizer alone.
    """
    values, places = list(arrays.values()), list(arrays)
    weights = [name for name in state if name.startswith("weights/")]
    optimizer = [name for name in state if not name.startswith(("weights/", "metrics/"))]
    tensorflow = bool(places) and places[0].endswith("/step")
    kept = values[tensorflow:]
    if tensorflow:
        del kept[len(optimizer) : len(optimizer) + METRICS_BY_PLACE]
    fits = len(values) - tensorflow * (1 + METRICS_BY_PLACE) == len(optimizer) + len(weights)
    return dict(zip([*optimizer, *weights], kept, strict=True)) if fits else {}
