"""Command: the scores of a trained network, as a larcv3 file."""

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
    WeightsConfig,
)
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.launch import launched
from cosmictagger_tf.text import counted

DESCRIPTION = """
Runs a trained network over every event of --file and writes a larcv3 file: the input's products and event ids, and
two sparse2d products with the neutrino score and the cosmic score of each stored pixel of the image, at the input's
resolution (a downsampled network's score is that of the pixel's block). Needs no labels. A stopped run
resumes when the same command is given again, and ends with the same file. Under `horovodrun -np N` the ranks share the
work.
"""
EXAMPLES = """
python -m cosmictagger_tf.predict --run_id=first --file=test.h5 --output=scored.h5
python -m cosmictagger_tf.predict --run_id=first --file='set_*.h5' --output=scored.h5 --minibatch_size=8 --overwrite
horovodrun -np 4 python -m cosmictagger_tf.predict --run_id=first --file=test.h5 --output=scored.h5
"""
GROUPS = (PredictConfig, OutputConfig, WeightsConfig, DataConfig, NetworkConfig, ExecutionConfig, RanksConfig)


def main(explicit, predict, output, weights, data, _, execution, distributed) -> None:
    from cosmictagger_tf.inference.predict.predict_file import predict_file

    config = InferenceConfig(output, weights, data, execution, distributed, explicit=explicit)
    events = predict_file(predict, config)
    if launched().rank == 0:
        print(f"written: {predict.output} ({counted(events, 'event')})")


if __name__ == "__main__":
    sys.exit(run_command("predict", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN, takes="explicit"))
