"""Where the numbers of a run go: the terminal, a CSV file, TensorBoard. Each takes records, one at a time.

A record is a flat dict: "split" ("train", "validation" or "whole_validation"), "step", "loss", the metrics, and for the
training its speed. Only the headline names go to the terminal.
"""

import contextlib
import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from cosmictagger_tf.errors import read_errors, write_errors
from cosmictagger_tf.files import replaced_file
from cosmictagger_tf.progress import Bar, clock, is_terminal
from cosmictagger_tf.training.metrics import METRICS, plane_key

SHOWN = ("loss", "accuracy", "nonbackground_accuracy", "cosmic_iou", "neutrino_iou", "mean_iou", "selection_score")
SHORT = {"nonbackground_accuracy": "non-bkg", "accuracy": "acc", "cosmic_iou": "cosmic IoU"}
SHORT |= {"neutrino_iou": "neutrino IoU", "mean_iou": "mean IoU", "selection_score": "selection"}


class RecordSink(Protocol):
    """Takes the records of a run."""

    def write(self, record: dict) -> None:
        """Takes one record."""

    def close(self) -> None:
        """No more records will come."""


class Terminal:
    """A line a record; on a terminal, a bar in their place, and lines for validations alone.

    Args:
        total: the last step of the run.
        every: print the training's record at every so many steps where the output is no terminal.
        stream: where to; None = standard output.
    """

    def __init__(self, total: int, every: int, stream=None):
        self.total, self.every, self.last_printed = total, every, 0
        self.stream = stream or sys.stdout
        self.bar = Bar(total, self.stream) if is_terminal(self.stream) else None

    def show_step(self, step: int):
        """The steps that are done, where there is a bar."""
        if self.bar:
            self.bar.show(step)

    def write(self, record: dict):
        """Takes a record."""
        step, training = record["step"], record["split"] == "train"
        if self.bar and training:
            text = f"loss {record['loss']:.4f}  mean IoU {record['mean_iou']:.4f}  {speed(record)}"
            self.bar.show(step, text)
            return
        if training and step // self.every == self.last_printed // self.every and step != self.total:
            return
        self.last_printed = step if training else self.last_printed
        numbers = "  ".join(f"{SHORT.get(name, name)} {record[name]:.4f}" for name in SHOWN if name in record)
        text = f"{record['split']} {step}/{self.total}  {numbers}"
        text += f"  {speed(record)}" if training else ""
        if self.bar:
            self.bar.print(text)
        else:
            print(text, file=self.stream, flush=True)

    def close(self):
        """Leaves the bar as it is."""
        if self.bar:
            self.bar.close()


def speed(record: dict) -> str:
    """Images a second, part of the time spent waiting for data, time left."""
    return (
        f"{record['images_per_second']:.2f} images/s  waiting {record['waiting']:.1%}  "
        f"{clock(record['seconds_left'])} left"
    )


def history_columns(planes: int, measures: Iterable[str] = ()) -> list[str]:
    """The columns of history.csv.

    Args:
        planes: of an image.
        measures: names of what is measured beside the pixels.
    """
    by_plane = [plane_key(name, plane) for name in METRICS for plane in range(planes)]
    pooled = [f"pooled/{name}" for name in METRICS]
    speed = ["images_per_second", "waiting", "exchanging", "learning_rate"]
    return ["split", "step", *speed, "loss", *METRICS, *pooled, *by_plane, *measures]


def history_lines(path: Path, last_step: int) -> list[dict]:
    """The lines of a history.csv up to a step, each by its columns' names; none where there is no such file.

    Half a line at the end, as a process leaves it that is killed while it writes, is none.

    Raises:
        ReadError: the system refuses to read it.
    """
    if not path.exists():
        return []
    with read_errors(path), open(path, encoding="utf-8", newline="") as file:
        lines = csv.DictReader([line for line in file if line.endswith("\n")])
    return [line for line in lines if (line.get("step") or "").isdigit() and int(line["step"]) <= last_step]


class CsvHistory:
    """history.csv: one line a record. A resumed run drops the lines after the step that it resumes from.

    Args:
        path: the file.
        columns: names of the values of a record; a record that lacks one leaves it empty.
        resume_step: keep the lines up to this step.
    """

    def __init__(self, path: Path, columns: list[str], resume_step: int):
        self.path, self.columns = path, columns
        kept = history_lines(path, resume_step)
        # Never shorter than before, whenever the process is killed.
        with replaced_file(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
            writer = self._writer(file)
            writer.writeheader()
            writer.writerows(kept)
        self.file = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115 - open as long as the run
        self.writer = self._writer(self.file)

    def _writer(self, file):
        return csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")

    def write(self, record: dict):
        """Appends one record; raises WriteError where the disk is full."""
        with write_errors(self.path):
            self.writer.writerow(record)
            self.file.flush()

    def close(self):
        """Closes the file; what could not be written has been reported."""
        with contextlib.suppress(OSError):
            self.file.close()
