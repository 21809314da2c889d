"""The file of scores: parts of it as they are computed, in a folder beside it, joined to a larcv3 file at the end.

A part is a fixed range of entries, whatever the number of processes that share the work and however often they were
stopped: so the joined file does not depend on either.
"""

import contextlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmictagger_tf.data.dataset import FilesReader
from cosmictagger_tf.data.larcv_products import ProductFile, Products
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.data.product_tables import RawProduct
from cosmictagger_tf.errors import DataError, read_errors, write_errors
from cosmictagger_tf.files import (
    check_kind,
    flush,
    hidden_name,
    locked,
    read_json,
    replaced_file,
    write_arrays,
    write_json,
)
from cosmictagger_tf.inference.predict.event_predictions import EventPrediction, from_arrays, to_arrays
from cosmictagger_tf.inference.predict.predicted_products import PredictedProducts
from cosmictagger_tf.text import listed

log = logging.getLogger(__name__)

# What a stopped run loses at most, but for the batch size.
EVENTS_A_PART = 8


@dataclass(frozen=True)
class Part:
    """The entries from `first` up to, not including, `last`."""

    number: int
    first: int
    last: int


def plan_parts(n_entries: int, size: int) -> list[Part]:
    """All parts of a data set; each but the last is a whole number of batches of `size` events."""
    step = size * max(1, EVENTS_A_PART // size)
    firsts = range(0, n_entries, step)
    return [Part(number, first, min(first + step, n_entries)) for number, first in enumerate(firsts)]


class WorkFolder:
    """The finished parts of a file of scores: a hidden folder beside it.

    Args:
        output: the file.
    """

    def __init__(self, output: Path):
        self.output = output
        self.path = hidden_name(output, "work")
        self.record_file = self.path / "work.json"
        self.joined = self.path / "joined.h5"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder and keeps other processes from it; raises ConfigError where one is writing the same file."""
        with locked(self.path, f"is writing {self.output}: wait, or give another --output"):
            yield

    def begin(self, record: dict):
        """Keeps what is in the folder if it is of the same work, as `record` describes it, or else clears it."""
        record = json.loads(json.dumps(record))
        try:
            before = read_json(self.record_file)
        except (FileNotFoundError, ValueError):
            before = None
        if before is not None and before != record:
            changed = sorted(k for k in record.keys() | before.keys() if record.get(k) != before.get(k))
            log.info(f"started again: {', '.join(changed)} changed since {self.path} was begun")
        if before != record:
            self.path.mkdir(parents=True, exist_ok=True)
            for left in self.path.iterdir():
                if left.name != ".lock":
                    left.unlink()
            write_json(self.record_file, record)

    def _file(self, part):
        return self.path / f"part_{part.number:06d}.npz"

    def exists(self, part: Part) -> bool:
        """Whether a part's file exists: it appears when it is complete."""
        return self._file(part).exists()

    def has(self, part: Part) -> bool:
        """Whether a part can be read."""
        try:
            self.load(part)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return False
        return True

    def save(self, part: Part, predictions: list[EventPrediction]):
        """Writes a part: what is kept of each of its events."""
        with replaced_file(self._file(part)) as beside:
            write_arrays(beside, to_arrays(predictions))

    def load(self, part: Part) -> list[EventPrediction]:
        """What was given to save."""
        file = self._file(part)
        with read_errors(file), np.load(file, allow_pickle=False) as arrays:
            predictions = from_arrays({name: arrays[name] for name in arrays.files})
        if len(predictions) != part.last - part.first:
            raise ValueError("of another length")
        return predictions

    def remove(self):
        """Removes the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def join_parts(
    reader: FilesReader,
    work: WorkFolder,
    parts: list[Part],
    predicted: PredictedProducts,
    copied: list[str],
    advance: Callable[[int], None],
):
    """Writes the file, all but its name: the input's products, and those of the prediction.

    The scores have the image's own image_meta.

    Args:
        reader: the input.
        work: has every part; gets the file, under the name `joined`.
        parts: all of them.
        predicted: what there is of the prediction.
        copied: names of the input's products that are carried over.
        advance: called with the number of finished events.
    """
    products = Products(reader, copied)
    try:
        with LarcvWriter(work.joined, reader.shape) as writer:
            for part in parts:
                for entry, prediction in enumerate(work.load(part), start=part.first):
                    event = reader.read(entry)
                    carried = products.read(entry)
                    meta = image_meta(carried.get(f"sparse2d_{predicted.data.producer_image}"))
                    writer.write(event.event_id, copied=carried, **predicted.of_event(event, prediction, meta))
                    advance(1)
    finally:
        products.close()
    reader.check_unchanged()


def publish(work: WorkFolder):
    """Gives the joined file its name, under which it is complete."""
    check_kind(work.output)
    with write_errors(work.output):
        os.replace(work.joined, work.output)
        flush(work.output.parent)


def image_meta(image: RawProduct | None) -> np.ndarray | None:
    """The rows of image_meta of an entry of the image, plane by plane; None where it is not carried over."""
    if image is None:
        return None
    rows = image.beside["image_meta"].rows
    return rows[np.argsort(rows["projection_id"], kind="stable")]


def copied_products(reader: FilesReader, without: list[str]) -> list[str]:
    """The names of the input's products that are carried over: all but older ones of the same names, and empty groups.

    Args:
        reader: of the input.
        without: names of the products of the prediction.

    Raises:
        DataError: a product cannot be carried over, or the files differ in them.
    """
    first: dict[str, list] = {}
    for part in reader.parts:
        path = part.path
        with contextlib.closing(ProductFile(path, without=without, same_as=part.identity)) as file:
            file.check()
            dtypes = {name: [table.dtype for table in product.tables] for name, product in file.tables.items()}
        if file.empty:
            log.info(f"left out: {path}: nothing but its group is there of {listed(file.empty)}")
        first = first or dtypes
        for name in sorted(first.keys() | dtypes.keys()):
            if first.get(name) != dtypes.get(name):
                how = "lacks" if name not in dtypes else "has" if name not in first else "has other columns in"
                raise DataError(path, f"{how} the product {name}, unlike {reader.files[0]}: predict such files apart")
    return sorted(first)
