"""Where the numbers of a run go: the terminal, a CSV file, TensorBoard. Each takes records, one at a time.

A record is a flat dict: "split" ("train" or "validation"), "step", "loss", the metrics, and for the training its
speed. Only the headline names go to the terminal.
"""

import csv
import sys
from pathlib import Path
from typing import Protocol

import tensorflow as tf

SHOWN = ("loss", "accuracy", "nonbackground_accuracy", "cosmic_iou", "neutrino_iou", "mean_iou")
SHORT = {"nonbackground_accuracy": "non-bkg", "accuracy": "acc", "cosmic_iou": "cosmic IoU"}
SHORT |= {"neutrino_iou": "neutrino IoU", "mean_iou": "mean IoU"}


class RecordSink(Protocol):
    """Takes the records of a run."""

    def write(self, record: dict) -> None:
        """Takes one record."""

    def close(self) -> None:
        """No more records will come."""


class Terminal:
    """Plain lines; on a terminal, one line that is rewritten and ends with the time left.

    Args:
        total: the last step of the run.
        every: print the training's record at every so many steps where the output is no terminal.
    """

    def __init__(self, total: int, every: int, stream=None):
        self.total, self.every = total, every
        self.stream = stream or sys.stdout
        self.rewrites = self.stream.isatty()

    def write(self, record: dict):
        """Prints one record."""
        text = f"{record['split']} {record['step']}/{self.total}  " + "  ".join(
            f"{SHORT.get(name, name)} {record[name]:.4f}" for name in SHOWN
        )
        if record["split"] == "train":
            text += f"  {record['images_per_second']:.2f} images/s  waiting {record['waiting']:.1%}"
            text += f"  {clock(record['seconds_left'])} left"
        if not self.rewrites:
            if record["split"] != "train" or record["step"] % self.every == 0 or record["step"] == self.total:
                print(text, file=self.stream, flush=True)
            return
        end = "" if record["split"] == "train" and record["step"] < self.total else "\n"
        print(f"\r\x1b[K{text}", end=end, file=self.stream, flush=True)

    def close(self):
        """Ends the line."""
        if self.rewrites:
            print(file=self.stream, flush=True)


def clock(seconds: float) -> str:
    """1:02:03 for 3723 seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


class CsvHistory:
    """history.csv: one line a record. A resumed run drops the lines after the step that it resumes from.

    Args:
        path: the file.
        columns: names of the values of a record; a record that lacks one leaves it empty.
        resume_step: keep the lines up to this step.
    """

    def __init__(self, path: Path, columns: list[str], resume_step: int):
        self.path, self.columns = path, columns
        kept = self._lines_until(resume_step)
        self.file = open(path, "w", newline="")  # noqa: SIM115 - open as long as the run
        self.writer = csv.DictWriter(self.file, columns, restval="", extrasaction="ignore")
        self.writer.writeheader()
        self.writer.writerows(kept)
        self.file.flush()

    def _lines_until(self, step):
        if not self.path.exists():
            return []
        with open(self.path, newline="") as file:
            return [
                line
                for line in csv.DictReader(file)
                if (line.get("step") or "").isdigit() and int(line["step"]) <= step
            ]

    def write(self, record: dict):
        """Appends one record."""
        self.writer.writerow(record)
        self.file.flush()

    def close(self):
        """Closes the file."""
        self.file.close()


class TensorBoardScalars:
    """TensorBoard event files, one folder a split.

    Args:
        folder: the run's logs folder.
        every: write the training's record at every so many steps.
    """

    def __init__(self, folder: Path, every: int):
        self.every = every
        self.writers = {split: tf.summary.create_file_writer(str(folder / split)) for split in ("train", "validation")}

    def write(self, record: dict):
        """Writes every number of a record as a scalar."""
        if record["split"] == "train" and record["step"] % self.every:
            return
        with self.writers[record["split"]].as_default(step=record["step"]):
            for name, value in record.items():
                if isinstance(value, float):
                    tf.summary.scalar(name, value)

    def close(self):
        """Flushes and closes the files."""
        for writer in self.writers.values():
            writer.close()
