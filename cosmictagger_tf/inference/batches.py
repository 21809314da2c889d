"""Batches for a pass over a data set on any Keras backend."""

from collections.abc import Iterator

import keras

from cosmictagger_tf.data.pipeline import BatchStream


def prepared_batches(stream: BatchStream) -> Iterator[dict]:
    """The batches of a stream, as numpy arrays.

    With the TensorFlow backend they come through tf.data, with others straight from the reading threads.

    Raises:
        UserError: what stopped the reading.
    """
    if keras.backend.backend() == "tensorflow":
        with stream.errors_reraised():
            yield from stream.batches.as_numpy_iterator()
        return
    yield from stream.generate()
