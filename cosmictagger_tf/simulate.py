"""Door: simulated events in a larcv3 file."""

import sys

from cosmictagger_tf.config import SimulateConfig
from cosmictagger_tf.doors import open_door

DESCRIPTION = """
Writes a larcv3 file of simulated SBND-like events: cosmic muons over the whole readout and one neutrino interaction
each, projected onto three wire planes, with noise and labels. The events depend on --simulation_seed alone.
"""
EXAMPLES = """
python -m cosmictagger_tf.simulate --output=train.h5 --events=100
python -m cosmictagger_tf.simulate --output=test.h5 --events=500 --simulation_seed=7 --workers=8
"""


def main(config) -> None:
    """Simulates and says where the file is."""
    from cosmictagger_tf.data.simulation.generate import simulate_file

    simulate_file(config)
    print(f"written: {config.output}")


if __name__ == "__main__":
    sys.exit(open_door("simulate", main, (SimulateConfig,), DESCRIPTION, EXAMPLES, uses_tensorflow=False))
