"""Changes of an event before it is batched."""

from dataclasses import replace

import numpy as np

from cosmictagger_tf.data.event import Event, PlanePixels


def downsample_event(event: Event, downsample: int) -> Event:
    """The event with both axes divided by 2**downsample, as larcv3's Downsample does it.

    The image is average-pooled (the sum over the pixels of a block, absent ones counting 0, divided by
    4**downsample), the label max-pooled. 0 gives the event itself.
    """
    if downsample == 0:
        return event
    image = tuple(_pool(pixels, downsample, event.shape.width, average=True) for pixels in event.image)
    label = event.label and tuple(_pool(pixels, downsample, event.shape.width, average=False) for pixels in event.label)
    return replace(event, image=image, label=label, shape=event.shape.downsampled(downsample))


def _pool(pixels: PlanePixels, downsample: int, width: int, average: bool) -> PlanePixels:
    if not len(pixels):
        return pixels
    blocks = (pixels.rows >> downsample) * (width >> downsample) + (pixels.columns >> downsample)
    order = np.argsort(blocks, kind="stable")
    blocks = blocks[order]
    starts = np.flatnonzero(np.concatenate([[True], blocks[1:] != blocks[:-1]]))
    values = pixels.values[order]
    pooled = np.add.reduceat(values, starts) / 4**downsample if average else np.maximum.reduceat(values, starts)
    rows, columns = np.divmod(blocks[starts], width >> downsample)
    return PlanePixels(rows.astype(np.int32), columns.astype(np.int32), pooled.astype(np.float32))
