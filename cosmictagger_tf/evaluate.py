"""Door: the metrics of a trained network over a file."""

import sys

from cosmictagger_tf.config import DataConfig, ExecutionConfig, NetworkConfig, OutputConfig, WeightsConfig
from cosmictagger_tf.doors import open_door

DESCRIPTION = """
Runs a trained network over every event of --file, in file order, and prints its metrics per plane and averaged: the
mean over events (the paper's headline) and pooled over the set. Architecture, downsampling and producers are
the run's own. Writes evaluation.json into the run's folder.
"""
EXAMPLES = """
python -m cosmictagger_tf.evaluate --run_id=first --file=test.h5
python -m cosmictagger_tf.evaluate --run_id=first --file=test.h5 --checkpoint_step=2000 --minibatch_size=8
"""
GROUPS = (OutputConfig, WeightsConfig, DataConfig, NetworkConfig, ExecutionConfig)


def main(given, output, weights, data, network, settings) -> None:
    """Evaluates and prints the table."""
    from cosmictagger_tf.inference.evaluation import evaluate
    from cosmictagger_tf.inference.report import metrics_table

    print(metrics_table(evaluate(given, output, weights, data, network, settings)))


if __name__ == "__main__":
    sys.exit(open_door("evaluate", main, GROUPS, DESCRIPTION, EXAMPLES, with_given=True))
