"""Downsampling of events."""

from dataclasses import replace

import numpy as np

from cosmictagger_tf.data.event import Event, PlanePixels
from cosmictagger_tf.detector import N_CLASSES, ImageShape


def downsample_event(event: Event, downsample: int) -> Event:
    """The event with both axes divided by 2**downsample, as larcv3's Downsample does it.

    The image is average-pooled (the sum over the pixels of a block, absent ones counting 0, divided by
    4**downsample), the label max-pooled. A block with a stored pixel is stored, be its value 0 or not. Pixels come out
    in the order of their ids. 0 gives the event itself.
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
    return replace(event, image=tuple(image), label=tuple(label) if event.label is not None else None, shape=shape)


class _Blocks:
    """Which pixels of a plane fall into which block of 2**downsample by 2**downsample."""

    def __init__(self, pixels: PlanePixels, downsample: int, shape: ImageShape):
        self.pixels_of_block = 4**downsample
        height = shape.height >> downsample
        ids = (pixels.columns >> downsample) * height + (pixels.rows >> downsample)
        stored = np.zeros(height * (shape.width >> downsample), bool)
        stored[ids] = True
        found = np.flatnonzero(stored).astype(np.int32)
        self.columns = found // height
        self.rows = found - self.columns * height
        # Only the places in `found` are ever read, so that the rest of the table may hold anything.
        number = np.empty(len(stored), np.int32)
        number[found] = np.arange(len(found), dtype=np.int32)
        self.number = number[ids]

    def average(self, values) -> PlanePixels:
        # bincount adds in float64.
        sums = np.bincount(self.number, values, len(self.rows))
        return PlanePixels(self.rows, self.columns, (sums / self.pixels_of_block).astype(np.float32))

    def highest_class(self, classes) -> PlanePixels:
        highest = np.zeros(len(self.rows), np.float32)
        for c in range(1, N_CLASSES):
            highest[self.number[classes == c]] = c
        return PlanePixels(self.rows, self.columns, highest)
