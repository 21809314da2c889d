"""Command: simulated events in a larcv3 file."""

import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import SimulateConfig

DESCRIPTION = """
Writes a larcv3 file of simulated SBND-like events: cosmic rays over the whole readout and one neutrino interaction
each (or --neutrinos; none in a share --cosmic_only of them), projected onto three wire planes, with noise and labels,
the true interactions and their vertices. The events depend on --simulation_seed, --neutrinos, --neutral_currents,
--cosmic_only and --stray_protons alone.
With --compare nothing is written: simulated events are compared with those of a file.
"""
EXAMPLES = """
python -m cosmictagger_tf.simulate --output=train.h5 --events=100
python -m cosmictagger_tf.simulate --output=test.h5 --events=500 --simulation_seed=7 --workers=8
python -m cosmictagger_tf.simulate --output=many.h5 --events=3000 --neutrinos=6 --neutral_currents=0.6 --workers=8
python -m cosmictagger_tf.simulate --output=both.h5 --events=3000 --cosmic_only=0.3 --workers=8
python -m cosmictagger_tf.simulate --compare=sbnd_sample.h5 --events=50 --comparison_picture=comparison.png
"""
GROUPS = (SimulateConfig,)


def main(config) -> None:
    if config.compare:
        from cosmictagger_tf.simulation.compare import compare_with_file

        return compare_with_file(config)
    from cosmictagger_tf.simulation.generate import simulate_file

    simulate_file(config)
    print(f"written: {config.output}")


if __name__ == "__main__":
    sys.exit(run_command("simulate", main, GROUPS, DESCRIPTION, EXAMPLES, uses_keras=False))
