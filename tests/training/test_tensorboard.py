"""What is written for TensorBoard."""

import contextlib

import pytest
import tensorflow as tf

from cosmictagger_tf.errors import WriteError
from cosmictagger_tf.training.tensorboard import writing


def test_a_disk_that_takes_no_logs_is_not_the_end_of_the_data(tmp_path):
    """fit takes what TensorFlow raises where a file grows too large for that."""

    class Full:
        @contextlib.contextmanager
        def as_default(self, step):
            raise tf.errors.OutOfRangeError(None, None, f"{tmp_path}/events; File too large")
            yield

    with (
        pytest.raises(WriteError, match=f"{tmp_path}: cannot be written: File too large"),
        writing(tmp_path, Full(), 1),
    ):
        pass
