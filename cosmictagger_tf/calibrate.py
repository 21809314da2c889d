"""Command: temperatures and working points of a trained network."""

import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import (
    RUN,
    CalibrateConfig,
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OutputConfig,
    RanksConfig,
    SkipConfig,
    TruthConfig,
    WeightsConfig,
)
from cosmictagger_tf.inference.inference_config import InferenceConfig

DESCRIPTION = """
Runs a trained network over the validation data of --file, which need readouts with and without a neutrino, and fits
what makes its logits probabilities. Chooses two working points: `pixels`, with the best IoUs, and `selection`,
which keeps few readouts with cosmic rays only. Prints them, and writes them into a JSON record beside the weights,
where evaluate, predict, display and export find it. Use data that neither training nor tests have seen.
Of a network without --event_head only the pixels are calibrated. Under `horovodrun -np N` the ranks share the events.
"""
EXAMPLES = """
python -m cosmictagger_tf.simulate --output=calibration.h5 --events=400 --cosmic_only=0.67 --simulation_seed=4
python -m cosmictagger_tf.calibrate --run_id=first --file=calibration.h5
python -m cosmictagger_tf.calibrate --run_id=mine --checkpoint_step=-2 --file=calibration.h5 --kept=0.005 --overwrite
"""
GROUPS = (
    CalibrateConfig,
    OutputConfig,
    WeightsConfig,
    DataConfig,
    TruthConfig,
    SkipConfig,
    NetworkConfig,
    ExecutionConfig,
    RanksConfig,
)


def main(explicit, calibrate, output, weights, data, truth, skip, _, execution, distributed) -> None:
    from cosmictagger_tf.inference.calibrate.calibrate_run import calibrate_run
    from cosmictagger_tf.inference.calibrate.calibration_text import calibration_text

    config = InferenceConfig(output, weights, data, execution, distributed, skip, explicit, truth)
    calibrated = calibrate_run(calibrate, config)
    if calibrated is None:
        return
    result, place = calibrated
    print(calibration_text(result))
    print(f"written: {place}")


if __name__ == "__main__":
    sys.exit(run_command("calibrate", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN, takes="explicit"))
