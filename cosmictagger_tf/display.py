"""Command: pictures of events, with truth and prediction."""

import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import (
    RUN,
    DataConfig,
    DisplayConfig,
    ExecutionConfig,
    NetworkConfig,
    OutputConfig,
    TruthConfig,
    WeightsConfig,
)
from cosmictagger_tf.inference.inference_config import InferenceConfig

DESCRIPTION = """
Draws chosen events of --file: the image, its truth where the file has labels, and a run's prediction, on all planes;
the true vertex where the file tells, and what the network's heads tell of vertex and class.
--nopredict draws without a trained network.
"""
EXAMPLES = """
python -m cosmictagger_tf.display --run_id=first --file=test.h5 --entries=0,5 --display_dir=pictures
python -m cosmictagger_tf.display --nopredict --file=test.h5 --downsample=0
"""
GROUPS = (DisplayConfig, OutputConfig, WeightsConfig, DataConfig, TruthConfig, NetworkConfig, ExecutionConfig)


def main(explicit, display, output, weights, data, truth, _, execution) -> None:
    from cosmictagger_tf.inference.display.display_events import display_events

    config = InferenceConfig(output, weights, data, execution, explicit=explicit, truth=truth)
    for path in display_events(display, config):
        print(f"drawn: {path}")


def predicts(display, *_) -> bool:
    """Whether a network is used."""
    return display.predict


if __name__ == "__main__":
    sys.exit(
        run_command(
            "display", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN, takes="explicit", uses_keras=predicts
        )
    )
