"""How fast batches come, and whether they are sound."""

import time
from collections import Counter
from dataclasses import dataclass, field

import keras
import numpy as np

from cosmictagger_tf.config import DataConfig
from cosmictagger_tf.data.batch import Batch
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.data.pipeline import training_dataset
from cosmictagger_tf.detector import EVENT_CLASS_NAMES, N_CLASSES, PADDING_COORDINATE, UNKNOWN_EVENT_CLASS, ImageShape
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.text import counted


@dataclass(frozen=True)
class Throughput:
    """What a pass of reading took.

    Attributes:
        events, pixels: read in all.
        seconds: wall time; cpu_seconds: of all threads of the process.
        megabytes: of the batches, padding included.
        waited: seconds in which the next batch was not ready.
        classes: readouts of each class of detector.EVENT_CLASS_NAMES, and unknown ones; none without truth.
    """

    events: int
    pixels: int
    seconds: float
    cpu_seconds: float
    megabytes: float
    waited: float
    classes: Counter = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{counted(self.events, 'event')} in {self.seconds:.2f} s: {self.events / self.seconds:.1f} images/s, "
            f"{1e3 * self.cpu_seconds / self.events:.2f} ms of CPU time an event, "
            f"{self.megabytes / self.seconds:.1f} MB/s, {self.pixels / self.events:.0f} pixels an event, "
            f"waiting {self.waited / self.seconds:.0%}"
        )

    def classes_text(self) -> str:
        """How many readouts there were of each class."""
        names = dict(enumerate(EVENT_CLASS_NAMES)) | {UNKNOWN_EVENT_CLASS: "unknown"}
        return ", ".join(f"{name} {self.classes[number]}" for number, name in names.items())

    @classmethod
    def together(cls, parts: list["Throughput"]) -> "Throughput":
        """What several processes read at the same time."""
        sums = {name: sum(getattr(p, name) for p in parts) for name in ("events", "pixels", "cpu_seconds", "megabytes")}
        longest = max(parts, key=lambda part: part.seconds)
        classes = sum((part.classes for part in parts), Counter())
        return cls(seconds=longest.seconds, waited=longest.waited, classes=classes, **sums)


def read_through(
    reader: Reader, config: DataConfig, steps: int, seed: int, rank=0, ranks=1, skip=0
) -> tuple[Throughput, list[DataError]]:
    """Reads `steps` training batches as fast as they come, and checks each; nothing is computed with them.

    As rank `rank` of `ranks` it reads its part of each batch, and goes past up to `skip` bad events, which it returns.

    Raises:
        DataError: an entry cannot be read.
        ValueError: a batch is not sound (a defect of this package, not of the file).
    """
    stream = training_dataset(reader, config, seed, 0, steps, rank, ranks, skip=skip)
    shape = reader.shape.downsampled(config.downsample)
    events = pixels = size = 0
    classes: Counter = Counter()
    began, cpu = time.perf_counter(), time.process_time()
    with stream.errors_reraised():
        # As a training on this backend gets them.
        tensorflow = keras.backend.backend() == "tensorflow"
        for batch in stream.batches.as_numpy_iterator() if tensorflow else stream.generate():
            check_batch(batch, shape)
            events += int(batch["weights"].sum())
            classes.update(batch["event_classes"].tolist() if reader.has_truth else ())
            pixels += int((batch["image_values"] != 0).sum())
            size += sum(array.nbytes for array in batch.values())
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    return Throughput(events, pixels, seconds, cpu_seconds, size / 1e6, stream.waited(), classes), stream.bad_events()


def check_batch(batch: Batch, shape: ImageShape):
    """Raises ValueError unless every pixel lies in the image, every value is finite and every label is a class."""
    for name in ("image", "label"):
        coordinates, values = batch[f"{name}_coordinates"], batch[f"{name}_values"]
        padded = coordinates[..., 0] == PADDING_COORDINATE
        inside = (coordinates >= 0).all(-1) & (coordinates < [shape.height, shape.width]).all(-1)
        if not (inside | padded).all():
            raise ValueError(f"{name}: a pixel lies outside {shape}")
        if values[padded].any() or not np.isfinite(values).all():
            raise ValueError(f"{name}: a padded pixel has a value, or a value is not finite")
    vertices = batch.get("vertices", np.zeros((0, 2)))
    absent = (vertices == PADDING_COORDINATE).all(axis=-1)
    if not (absent | ((vertices >= 0) & (vertices < [shape.height, shape.width])).all(axis=-1)).all():
        raise ValueError(f"a vertex lies outside {shape}")
    labels = batch["label_values"]
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= N_CLASSES:
        raise ValueError(f"a label is none of the classes 0 to {N_CLASSES - 1}")
