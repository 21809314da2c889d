"""Command: the metrics of a trained network over a file."""

import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import (
    RUN,
    DataConfig,
    EvaluateConfig,
    ExecutionConfig,
    NetworkConfig,
    OutputConfig,
    RanksConfig,
    ReadoutsConfig,
    SkipConfig,
    TruthConfig,
    WeightsConfig,
)
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.launch import launched

DESCRIPTION = """
Runs a trained network over every event of --file, in file order, and prints its metrics per plane and averaged, with
95 % intervals: the mean over events (the paper's headline) and pooled over the set. Architecture, downsampling and
producers are the run's own. Writes evaluation.html (plots, best and worst events; opens without a network),
evaluation.json (every number) and evaluation.csv (a line an event) into the run's folder, or to --report. Also reports
how readouts are selected (--cut, --prior) and, of a network with heads, the class confusion matrix and the vertices'
distances. Pixels are at --working_point of the calibration, where there is one.
"""
EXAMPLES = """
python -m cosmictagger_tf.evaluate --run_id=first --file=test.h5
python -m cosmictagger_tf.evaluate --run_id=first --file=test.h5 --checkpoint_step=2000 --report=reports/step2000.html
python -m cosmictagger_tf.evaluate --run_id=first --file=both.h5 --cut='pixels>10; pixels>10,rows<5' --table=events.csv
"""
GROUPS = (
    EvaluateConfig,
    ReadoutsConfig,
    OutputConfig,
    WeightsConfig,
    DataConfig,
    TruthConfig,
    SkipConfig,
    NetworkConfig,
    ExecutionConfig,
    RanksConfig,
)


def main(explicit, evaluate, readouts, output, weights, data, truth, skip, _, execution, distributed) -> None:
    from cosmictagger_tf.inference.evaluate.evaluate_run import evaluate_run
    from cosmictagger_tf.inference.evaluate.evaluation_files import event_columns, write_evaluation
    from cosmictagger_tf.inference.evaluate.report import report_text
    from cosmictagger_tf.inference.evaluate.report_place import report_place
    from cosmictagger_tf.inference.table_file import table_place, write_table

    config = InferenceConfig(output, weights, data, execution, distributed, skip, explicit, truth, readouts)
    # Rank 0 alone writes.
    writes = launched().rank == 0
    place = report_place(evaluate, output, weights) if writes else None
    table = table_place(readouts.table) if writes else None
    evaluation = evaluate_run(evaluate, config)
    if evaluation is None:
        return
    print(report_text(evaluation))
    if table is not None:
        write_table(event_columns(evaluation), table)
        print(f"written: {table}")
    if place is None:
        print("nothing is written: these weights are of no run; --report=NAME.html names the file")
        return
    for path in write_evaluation(evaluation, evaluate, place):
        print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(run_command("evaluate", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN, takes="explicit"))
