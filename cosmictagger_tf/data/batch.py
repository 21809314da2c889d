"""Events to batches of padded pixel lists: what travels to the device."""

from collections.abc import Mapping

import numpy as np

from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.data.loops import pair_coordinates
from cosmictagger_tf.data.sampling import FILLER
from cosmictagger_tf.data.truth import Truth, event_class
from cosmictagger_tf.detector import (
    BACKGROUND,
    COSMIC_ONLY,
    NEUTRINO,
    PADDING_COORDINATE,
    UNKNOWN_EVENT_CLASS,
    ImageShape,
)

SMALLEST_LENGTH = 256
# As many as training sets mostly have: lists of one length make one program.
FEWEST_VERTICES = 8

# A Batch, by name: dtype and shape. P and Q, the padded lengths, come in a few sizes only (see padded_length).
#   image_coordinates  int32   [batch, planes, P, 2]  (row, column); PADDING_COORDINATE where padded
#   image_values       float32 [batch, planes, P]     ADC; 0 where padded
#   label_coordinates  int32   [batch, planes, Q, 2]
#   label_values       int32   [batch, planes, Q]     class index; 0 where padded
#   labels             int32   [batch, planes, P]     class index of the image's pixels, see labels_at_pixels
#   weights            float32 [batch]                1, or 0 for a filler of the last partial batch
#   entries            int64   [batch]                position in the data set, FILLER for a filler
# and with truth, of which V, the padded number of vertices, is mostly FEWEST_VERTICES:
#   event_classes      int32   [batch]                see truth.event_class; UNKNOWN_EVENT_CLASS for a filler
#   vertices           float32 [batch, V, planes, 2]  (row, column), whose whole parts are the pixel, at the resolution
#                                                     of the images; PADDING_COORDINATE where there is none
#   vertices_known     float32 [batch]                1, or 0 where the file does not tell, and for a filler
Batch = dict[str, np.ndarray]


def padded_length(pixels: int) -> int:
    """The length that a list of `pixels` is padded to: the next power of two, so that XLA compiles few programs."""
    return max(SMALLEST_LENGTH, power_of_two(pixels))


def power_of_two(number: int) -> int:
    """The least power of two that is no less."""
    return 1 << (max(number, 1) - 1).bit_length()


def make_batch(events: list[Event], size: int, shape: ImageShape, longest: int = 0, truth: bool = False) -> Batch:
    """A Batch of `size` events; where there are fewer, fillers without pixels follow.

    Args:
        events: at most `size`, all of `shape`'s planes.
        size: events of the batch.
        shape: gives the number of planes.
        longest: pad as if a list of so many pixels were there.
        truth: with the arrays of the events' truth.
    """
    images = [event.image for event in events]
    labels = [event.label or () for event in events]
    image_coordinates = _pad_coordinates(images, size, shape.planes, longest)
    # Label and image mostly store the same pixels, and then the same arrays: they are not copied twice.
    alike = all(_same_pixels(image, label) for image, label in zip(images, labels, strict=True))
    missing = size - len(events)
    batch = {
        "image_coordinates": image_coordinates,
        "image_values": _pad_values(images, size, shape.planes, longest, np.float32),
        "label_coordinates": image_coordinates if alike else _pad_coordinates(labels, size, shape.planes, longest),
        "label_values": _pad_values(labels, size, shape.planes, longest, np.int32),
        "weights": np.array([1.0] * len(events) + [0.0] * missing, np.float32),
        "entries": np.array([event.entry for event in events] + [FILLER] * missing, np.int64),
    }
    batch["labels"] = labels_at_pixels(batch)
    return batch | truth_arrays(events, size, shape.planes) if truth else batch


def truth_arrays(events: list[Event], size: int, planes: int) -> Batch:
    """The arrays of a Batch that tell class and vertices; a readout of cosmic rays only is known to have no vertex."""
    classes = np.full(size, UNKNOWN_EVENT_CLASS, np.int32)
    known = np.zeros(size, np.float32)
    lists = [np.zeros((0, planes, 2))] * size
    for i, event in enumerate(events):
        truth, labels = event.truth or Truth(), event.label
        pixels = None if labels is None else sum(int((plane.values == NEUTRINO).sum()) for plane in labels)
        classes[i] = event_class(truth.neutrinos, pixels)
        if classes[i] != COSMIC_ONLY and truth.vertices is not None:
            # What is within the image is so in 32-bit numbers, too.
            ends = np.nextafter(np.array((event.shape.height, event.shape.width), np.float32), np.float32(0))
            lists[i] = np.minimum(truth.vertices, ends)
        # A list without vertices, of a readout with neutrino pixels, does not tell that there is none.
        known[i] = classes[i] == COSMIC_ONLY or (truth.vertices is not None and len(truth.vertices) > 0)
    length = power_of_two(max([FEWEST_VERTICES, *(len(vertices) for vertices in lists)]))
    padded = np.full((size, length, planes, 2), PADDING_COORDINATE, np.float32)
    for place, vertices in zip(padded, lists, strict=True):
        place[: len(vertices)] = np.where(np.isnan(vertices), PADDING_COORDINATE, vertices)
    return {"event_classes": classes, "vertices": padded, "vertices_known": known}


def real_events(batch: Mapping) -> np.ndarray:
    """The places of a Batch's events, without its fillers: int64 [events]."""
    return np.flatnonzero(np.asarray(batch["entries"]) != FILLER)


def listed_pixels(batch: Mapping) -> np.ndarray:
    """Which places of a Batch's lists have a pixel of the image: bool [batch, planes, P]."""
    return np.asarray(batch["image_coordinates"])[..., 0] != PADDING_COORDINATE


def labels_at_pixels(batch: Batch) -> np.ndarray:
    """int32 [batch, planes, P], the label of each pixel of the image's lists; background where the label has none."""
    image, label = (batch[f"{name}_coordinates"] for name in ("image", "label"))
    values = batch["label_values"]
    if image is label or np.array_equal(image, label):
        return values
    image, label = ((pixels[..., 0].astype(np.int64) << 32) + pixels[..., 1] for pixels in (image, label))
    labels = np.full(image.shape, BACKGROUND, np.int32)
    for place in np.ndindex(image.shape[:2]):
        order = np.argsort(label[place])
        ordered = label[place][order]
        at = np.minimum(np.searchsorted(ordered, image[place]), len(ordered) - 1)
        labels[place] = np.where(ordered[at] == image[place], values[place][order][at], BACKGROUND)
    return labels


def _same_pixels(image: tuple[PlanePixels, ...], label: tuple[PlanePixels, ...]) -> bool:
    return len(image) == len(label) and all(
        a.rows is b.rows and a.columns is b.columns for a, b in zip(image, label, strict=True)
    )


def _length(images, longest) -> int:
    return padded_length(max([longest, *(len(pixels) for image in images for pixels in image)]))


def _pad_coordinates(images: list[tuple[PlanePixels, ...]], size, planes, longest) -> np.ndarray:
    padded = np.empty((size, planes, _length(images, longest), 2), np.int32)
    for place, pixels in _lists(images, size, planes):
        pair_coordinates(pixels.rows, pixels.columns, PADDING_COORDINATE, padded[place])
    return padded


def _pad_values(images: list[tuple[PlanePixels, ...]], size, planes, longest, dtype) -> np.ndarray:
    padded = np.empty((size, planes, _length(images, longest)), dtype)
    for place, pixels in _lists(images, size, planes):
        padded[place][: len(pixels)] = pixels.values
        padded[place][len(pixels) :] = 0
    return padded


def _lists(images, size, planes):
    # ((event, plane), pixels) of every place in a batch; no pixels for fillers and for events without labels.
    for i in range(size):
        for plane in range(planes):
            yield (i, plane), images[i][plane] if i < len(images) and images[i] else PlanePixels.empty()
