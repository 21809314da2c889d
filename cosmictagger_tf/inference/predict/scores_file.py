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

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.dataset import FilesReader
from cosmictagger_tf.data.larcv_products import ProductFile, Products
from cosmictagger_tf.data.larcv_writer import LarcvWriter
from cosmictagger_tf.data.product_tables import RawProduct
from cosmictagger_tf.data.transforms import at_stored_pixels
from cosmictagger_tf.detector import COSMIC, NEUTRINO
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
from cosmictagger_tf.text import listed

log = logging.getLogger(__name__)

# What a stopped run loses at most, but for the batch size.
EVENTS_A_PART = 8
# The classes whose scores are kept, in the order of a part's second axis.
SCORED = (NEUTRINO, COSMIC)


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

    def save(self, part: Part, scores: list[list[np.ndarray]]):
        """Writes a part: a list an event of float32 [pixels, scored classes] a plane, at the network's resolution."""
        lengths = np.array([[len(plane) for plane in event] for event in scores], np.int64)
        joined = np.concatenate([plane for event in scores for plane in event])
        with replaced_file(self._file(part)) as beside:
            write_arrays(beside, {"lengths": lengths, "scores": joined})

    def load(self, part: Part) -> list[list[np.ndarray]]:
        """What was given to save."""
        file = self._file(part)
        with read_errors(file), np.load(file, allow_pickle=False) as arrays:
            lengths, scores = arrays["lengths"], arrays["scores"]
        if len(lengths) != part.last - part.first or lengths.sum() != len(scores):
            raise ValueError("of another length")
        pieces = iter(np.split(scores, np.cumsum(lengths)[:-1]))
        return [[next(pieces) for _ in event] for event in lengths]

    def remove(self):
        """Removes the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def join_parts(
    reader: FilesReader,
    work: WorkFolder,
    parts: list[Part],
    producers: tuple[str, str],
    copied: list[str],
    data: DataConfig,
    output: Path,
    advance: Callable[[int], None],
):
    """Writes the file: the input's products, and the scores at the image's stored pixels, in the input's resolution.

    The scores have the image's own image_meta.

    Args:
        reader: the input.
        work: has every part.
        parts: all of them.
        producers: of the scores of the classes SCORED.
        copied: names of the input's products that are carried over.
        data: the network's downsampling, and which product is the image.
        output: the file; appears when it is complete.
        advance: called with the number of finished events.
    """
    products = Products(reader, copied)
    try:
        with LarcvWriter(work.joined, reader.shape) as writer:
            for part in parts:
                for entry, scores in enumerate(work.load(part), start=part.first):
                    event = reader.read(entry)
                    spread = [
                        at_stored_pixels(pixels, listed_scores, data.downsample, reader.shape)
                        for pixels, listed_scores in zip(event.image, scores, strict=True)
                    ]
                    planes = {
                        producer: tuple(plane[index] for plane in spread) for index, producer in enumerate(producers)
                    }
                    carried = products.read(entry)
                    meta = image_meta(carried.get(f"sparse2d_{data.producer_image}"))
                    if meta is not None and not len(meta):
                        # An event without planes has none in any product.
                        planes = dict.fromkeys(producers, ())
                    writer.write(event.event_id, planes, copied=carried, metas=dict.fromkeys(producers, meta))
                    advance(1)
    finally:
        products.close()
    reader.check_unchanged()
    check_kind(output)
    with write_errors(output):
        os.replace(work.joined, output)
        flush(output.parent)


def image_meta(image: RawProduct | None) -> np.ndarray | None:
    """The rows of image_meta of an entry of the image, plane by plane; None where it is not carried over."""
    if image is None:
        return None
    rows = image.beside["image_meta"].rows
    return rows[np.argsort(rows["projection_id"], kind="stable")]


def copied_products(reader: FilesReader, producers: tuple[str, str]) -> list[str]:
    """The names of the input's products that are carried over: all but older scores of the same name, and empty groups.

    Args:
        reader: of the input.
        producers: of the scores.

    Raises:
        DataError: a product cannot be carried over, or the files differ in them.
    """
    first: dict[str, list] = {}
    without = [f"sparse2d_{producer}" for producer in producers]
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
