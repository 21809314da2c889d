"""Event files, which TensorBoard shows: written with its own records and messages, on any Keras backend.

TensorBoard's EventFileWriter would import TensorFlow where that is installed, and would write in a thread, whose errors
come late or never. Its RecordWriter takes any file.
"""

import io
import itertools
import os
import socket
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.image.metadata import create_summary_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from cosmictagger_tf.errors import write_errors

_numbers = itertools.count()


class EventFile:
    """A new event file; what is added is in it when the call returns.

    Args:
        folder: where to; made if missing.

    Raises:
        WriteError: the system refuses; by the methods too.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.records = RecordWriter(open(folder / name, "wb"))  # noqa: SIM115 - open as long as the run
        self.add(0, file_version="brain.Event:2")

    def add(self, step: int, **content):
        """Adds an event.

        Args:
            step: the steps done.
            content: one field of TensorBoard's Event message.
        """
        event = Event(wall_time=time.time(), step=step, **content)
        with write_errors(self.folder):
            self.records.write(event.SerializeToString())
            self.records.flush()

    def add_scalars(self, step: int, values: dict[str, float]):
        """Adds numbers by name."""
        self.add(step, summary=Summary(value=[scalar_pb(*item).value[0] for item in values.items()]))

    def add_pictures(self, step: int, pictures: dict[str, np.ndarray]):
        """Adds pictures by name, uint8 [height, width, 3]."""
        self.add(step, summary=Summary(value=[_picture(*item) for item in pictures.items()]))

    def close(self):
        with write_errors(self.folder):
            self.records.close()


def _picture(name: str, pixels: np.ndarray) -> Summary.Value:
    """The picture as tf.summary.image writes it: width, height and the PNG, all of them strings."""
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png")
    height, width, _ = pixels.shape
    strings = [str(width).encode(), str(height).encode(), png.getvalue()]
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(strings))])
    tensor = TensorProto(dtype=DT_STRING, string_val=strings, tensor_shape=shape)
    return Summary.Value(tag=name, tensor=tensor, metadata=create_summary_metadata(None, None))
