"""Downsampling of events."""

from dataclasses import replace

import numpy as np

from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.detector import N_CLASSES, ImageShape


def downsample_event(event: Event, downsample: int) -> Event:
    """The event with both axes divided by 2**downsample, as larcv3's Downsample does it.

    The image is average-pooled (the sum over the pixels of a block, absent ones counting 0, divided by
    4**downsample), the label max-pooled. A block with a stored pixel is stored, be its value 0 or not. Pixels come out
    in the order of their ids. A vertex is in the block that its pixel is in. 0 gives the event itself.
    """
    if downsample == 0:
        return event
    image, label = [], []
    for plane, pixels in enumerate(event.image):
        blocks = _Blocks(pixels, downsample, event.shape)
        image.append(blocks.average(pixels.values))
        if event.label is not None:
            classes = event.label[plane]
            # Mostly label and image store the same pixels, and then the same arrays (see larcv_h5.Sparse2d.read).
            if classes.rows is not pixels.rows or classes.columns is not pixels.columns:
                blocks = _Blocks(classes, downsample, event.shape)
            label.append(blocks.highest_class(classes.values))
    shape = event.shape.downsampled(downsample)
    truth = event.truth and event.truth.with_vertices(lambda vertices: vertices / 2**downsample)
    labels = tuple(label) if event.label is not None else None
    return replace(event, image=tuple(image), label=labels, shape=shape, truth=truth)


def at_stored_pixels(pixels: PlanePixels, values: np.ndarray, downsample: int, shape: ImageShape) -> list[PlanePixels]:
    """Gives each pixel of a plane the values of its block.

    Args:
        pixels: the stored pixels, at full resolution.
        values: float32 [blocks, n], in the order of downsample_event's pixels.
        downsample: of the blocks.
        shape: at full resolution.

    Returns:
        n PlanePixels at the places of `pixels`.
    """
    spread = values[_Blocks(pixels, downsample, shape).of_pixels()] if downsample else values
    return [PlanePixels(pixels.rows, pixels.columns, column) for column in spread.T]


class _Blocks:
    """Which pixels of a plane fall into which block of 2**downsample by 2**downsample."""

    def __init__(self, pixels: PlanePixels, downsample: int, shape: ImageShape):
        self.pixels_of_block = 4**downsample
        height = np.int32(shape.height >> downsample)
        self.blocks = int(height) * (shape.width >> downsample)
        self.ids = ((pixels.columns >> downsample) * height + (pixels.rows >> downsample)).astype(np.intp)
        # 1 where a block has a pixel, and for labels 1 + the highest class so far.
        self.marks = np.zeros(self.blocks, np.uint8)
        self.marks[self.ids] = 1
        # As bool, since that is several times as fast.
        self.filled = np.flatnonzero(self.marks.view(bool))
        filled = self.filled.astype(np.int32)
        self.columns = filled // height
        self.rows = filled - self.columns * height

    def of_pixels(self) -> np.ndarray:
        # Which of the blocks that have pixels each pixel is in.
        return np.searchsorted(self.filled, self.ids)

    def average(self, values) -> PlanePixels:
        # bincount adds in float64.
        sums = np.bincount(self.ids, values, self.blocks)[self.filled]
        return PlanePixels(self.rows, self.columns, (sums / self.pixels_of_block).astype(np.float32))

    def highest_class(self, classes) -> PlanePixels:
        marks = self.marks.copy()
        for c in range(1, N_CLASSES):
            marks[self.ids[classes == c]] = c + 1
        highest = (marks[self.filled] - np.uint8(1)).astype(np.float32)
        return PlanePixels(self.rows, self.columns, highest)
