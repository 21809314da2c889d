"""Command: a network that the reference CosmicTagger trained with PyTorch, as a run of this package."""

import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import RUN, DataConfig, ImportConfig, NetworkConfig, OutputConfig

DESCRIPTION = """
Turns the weights of the reference's PyTorch network into a run folder, <output_dir>/<run_id>, which evaluate,
calibrate, predict, display and export take like any other, and from which train starts (--init_from). The architecture
is what the flags give; every tensor that does not fit it is named. Data flags record what the network was trained on:
downsample and producers. .ckpt and .pt files need the package torch and are read as plain tensors only; .npz files do
not.
"""
EXAMPLES = """
python -m cosmictagger_tf.import_weights --from=uresnet.ckpt --flagfile=flags/networks/uresnet.flags --run_id=moved
python -m cosmictagger_tf.evaluate --run_id=moved --file=test.h5
python -m cosmictagger_tf.train --init_from=output/moved --run_id=further --file=train.h5 --epochs=1
"""
GROUPS = (ImportConfig, OutputConfig, NetworkConfig, DataConfig)


def main(source, output, network, data) -> None:
    from cosmictagger_tf.training.checkpoints.importing import import_run

    print(f"imported into {import_run(source, output, network, data)}")


if __name__ == "__main__":
    sys.exit(run_command("import_weights", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN))
