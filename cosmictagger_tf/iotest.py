"""Door: how fast a file is read."""

import sys

from cosmictagger_tf.config import DataConfig, IoTestConfig
from cosmictagger_tf.doors import open_door

DESCRIPTION = """
Reads random batches of --file at full speed, as training does but without computing anything, checks each batch, and
reports images/s, CPU time an event, MB/s and the time spent waiting for the next batch.
"""
EXAMPLES = """
python -m cosmictagger_tf.iotest --file=train.h5 --downsample=0 --minibatch_size=4
python -m cosmictagger_tf.iotest --file=train.h5 --reader=larcv --read_iterations=200
"""


def main(data, test) -> None:
    """Reads and reports."""
    from cosmictagger_tf.data.dataset import open_reader
    from cosmictagger_tf.data.throughput import read_through

    reader = open_reader(data)
    print(f"{len(reader)} entries of {reader.shape}, labels: {'yes' if reader.has_labels else 'no'}")
    print(read_through(reader, data, test.read_iterations, seed=0))


if __name__ == "__main__":
    sys.exit(open_door("iotest", main, (DataConfig, IoTestConfig), DESCRIPTION, EXAMPLES))
