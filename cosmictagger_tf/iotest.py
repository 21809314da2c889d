"""Command: how fast a file is read."""

import logging
import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import (
    RUN,
    DataConfig,
    IoTestConfig,
    RanksConfig,
    SkipConfig,
    TruthConfig,
    check_image_shape,
)
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.text import counted

# Run by `python -m`, this module is called __main__.
log = logging.getLogger("cosmictagger_tf.iotest")

DESCRIPTION = """
Reads random batches of --file at full speed, as training does but without computing anything, checks each batch, and
reports images/s, CPU time an event, MB/s and the time spent waiting for the next batch. --truth reads what is true of
whole readouts too, and reports how many there are of each class.
"""
EXAMPLES = """
python -m cosmictagger_tf.iotest --file=train.h5 --downsample=0 --minibatch_size=4
python -m cosmictagger_tf.iotest --file=train.h5 --reader=larcv --read_iterations=200
python -m cosmictagger_tf.iotest --file=train.h5 --truth
taskset -c 0 python -m cosmictagger_tf.iotest --file=train.h5 --compare_readers --read_iterations=96
"""
GROUPS = (DataConfig, TruthConfig, SkipConfig, IoTestConfig, RanksConfig)


def main(data, truth, skip, test, distributed) -> None:
    from cosmictagger_tf.benchmarking.throughput import Throughput, read_through
    from cosmictagger_tf.data.dataset import open_reader
    from cosmictagger_tf.data.truth_products import check_producers
    from cosmictagger_tf.training.bad_events import BadEvents
    from cosmictagger_tf.training.distributed.agreement import check_data, check_options
    from cosmictagger_tf.training.distributed.jobs import run

    def read(ranks) -> None:
        with ranks.agreed():
            check_options(ranks, data, truth, skip, test)
            ranks.part("minibatch_size", data.minibatch_size)
            if test.compare_readers and skip.skip_bad_events:
                raise ConfigError("--compare_readers: the larcv queue skips nothing: leave out --skip_bad_events")
            if test.compare_readers and ranks.size > 1:
                raise ConfigError("--compare_readers: compares them in one process, without horovodrun or mpirun")
            reader = open_reader(data, truth if test.truth else None)
            if test.truth:
                check_producers(reader, truth)
            check_data(ranks, "file", reader)
            check_image_shape(reader.shape, data.downsample, 0)
        log.info(f"{counted(len(reader), 'entry')} of {reader.shape}, labels: {'yes' if reader.has_labels else 'no'}")
        if test.compare_readers:
            from cosmictagger_tf.benchmarking.reader_comparison import HEADER, compare

            log.info(HEADER)
            for row in compare(reader, data, test.read_iterations):
                print(row, flush=True)
            return
        bad = BadEvents(skip.skip_bad_events, ranks)
        mine, errors = read_through(reader, data, test.read_iterations, 0, ranks.rank, ranks.size, bad.most)
        bad.count(errors)
        together = Throughput.together(ranks.gather(mine))
        log.info(str(together))
        if test.truth:
            log.info(together.classes_text())

    run(distributed, lambda local_rank: None, read)


if __name__ == "__main__":
    sys.exit(run_command("iotest", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN))
