"""Command: what a trained network gives of pixels and readouts, as a larcv3 file and a table."""

import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import (
    RUN,
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OutputConfig,
    PredictConfig,
    RanksConfig,
    ReadoutsConfig,
    WeightsConfig,
)
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.launch import launched
from cosmictagger_tf.text import counted

DESCRIPTION = """
Runs a trained network over every event of --file and writes a larcv3 file: the input's products and event ids, and
two sparse2d products with the neutrino score and the cosmic score of each stored pixel of the image, at the input's
resolution (a downsampled network's score is that of the pixel's block). Of a network with heads also the class of each
readout, its vertex on each plane and in the detector; --table has them a line a readout. Needs no labels. A stopped run
resumes when the same command is given again, and ends with the same file. Under `horovodrun -np N` the ranks share the
work.
"""
EXAMPLES = """
python -m cosmictagger_tf.predict --run_id=first --file=test.h5 --output=scored.h5
python -m cosmictagger_tf.predict --run_id=first --file='set_*.h5' --output=scored.h5 --minibatch_size=8 --overwrite
python -m cosmictagger_tf.predict --run_id=first --file=test.h5 --output=scored.h5 --table=readouts.csv --clean
horovodrun -np 4 python -m cosmictagger_tf.predict --run_id=first --file=test.h5 --output=scored.h5
"""
GROUPS = (
    PredictConfig,
    ReadoutsConfig,
    OutputConfig,
    WeightsConfig,
    DataConfig,
    NetworkConfig,
    ExecutionConfig,
    RanksConfig,
)


def main(explicit, predict, readouts, output, weights, data, _, execution, distributed) -> None:
    from cosmictagger_tf.inference.predict.predict_file import predict_file

    config = InferenceConfig(output, weights, data, execution, distributed, explicit=explicit, readouts=readouts)
    events = predict_file(predict, config)
    if launched().rank == 0:
        if readouts.table:
            print(f"written: {readouts.table}")
        print(f"written: {predict.output} ({counted(events, 'event')})")


if __name__ == "__main__":
    sys.exit(run_command("predict", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN, takes="explicit"))
