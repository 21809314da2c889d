"""Events to batches of padded pixel lists: what travels to the device."""

import numpy as np

from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.sampling import FILLER
from cosmictagger_tf.detector import PADDING_COORDINATE, ImageShape

SMALLEST_LENGTH = 256

# A Batch, by name: dtype and shape. P and Q, the padded lengths, come in a few sizes only (see padded_length).
#   image_coordinates  int32   [batch, planes, P, 2]  (row, column); PADDING_COORDINATE where padded
#   image_values       float32 [batch, planes, P]     ADC; 0 where padded
#   label_coordinates  int32   [batch, planes, Q, 2]
#   label_values       int32   [batch, planes, Q]     class index; 0 where padded
#   weights            float32 [batch]                1, or 0 for a filler of the last partial batch
#   entries            int64   [batch]                position in the data set, FILLER for a filler
Batch = dict[str, np.ndarray]


def padded_length(pixels: int) -> int:
    """The length that a list of `pixels` is padded to: the next power of two, so that XLA compiles few programs."""
    return max(SMALLEST_LENGTH, 1 << (max(pixels, 1) - 1).bit_length())


def make_batch(events: list[Event], size: int, shape: ImageShape) -> Batch:
    """A Batch of `size` events; where there are fewer, fillers without pixels follow.

    Args:
        events: at most `size`, all of `shape`'s planes.
        size: events of the batch.
        shape: gives the number of planes.
    """
    image = _pad([event.image for event in events], size, shape.planes, np.float32)
    label = _pad([event.label or () for event in events], size, shape.planes, np.int32)
    missing = size - len(events)
    return {
        "image_coordinates": image[0],
        "image_values": image[1],
        "label_coordinates": label[0],
        "label_values": label[1],
        "weights": np.array([1.0] * len(events) + [0.0] * missing, np.float32),
        "entries": np.array([event.entry for event in events] + [FILLER] * missing, np.int64),
    }


def _pad(images: list[tuple[PlanePixels, ...]], size, planes, dtype):
    length = padded_length(max((len(pixels) for image in images for pixels in image), default=0))
    coordinates = np.full((size, planes, length, 2), PADDING_COORDINATE, np.int32)
    values = np.zeros((size, planes, length), dtype)
    for i, image in enumerate(images):
        for plane, pixels in enumerate(image):
            coordinates[i, plane, : len(pixels), 0] = pixels.rows
            coordinates[i, plane, : len(pixels), 1] = pixels.columns
            values[i, plane, : len(pixels)] = pixels.values
    return coordinates, values
