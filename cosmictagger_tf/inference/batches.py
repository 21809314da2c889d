"""Batches for a pass over a data set on any Keras backend."""

from collections.abc import Iterator

import keras

from cosmictagger_tf.data.pipeline import BatchStream
from cosmictagger_tf.networks.segmentation import Segmenter


def prepared_batches(stream: BatchStream, segmenter: Segmenter) -> Iterator[dict]:
    """The batches of a stream, as numpy arrays, with what the network wants added.

    With the TensorFlow backend they come through tf.data, which prepares them ahead of the step (so `stream` must have
    been given segmenter.prepare); with others straight from the reading threads.

    Raises:
        UserError: what stopped the reading.
    """
    if keras.backend.backend() == "tensorflow":
        with stream.errors_reraised():
            yield from stream.batches.as_numpy_iterator()
        return
    for batch in stream.generate():
        yield segmenter.prepare(batch) if segmenter.prepare else batch
