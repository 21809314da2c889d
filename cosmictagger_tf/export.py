"""Door: a trained network as a TensorFlow SavedModel."""

import sys

from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    ExportConfig,
    NetworkConfig,
    OutputConfig,
    WeightsConfig,
)
from cosmictagger_tf.doors import open_door

DESCRIPTION = """
Writes a trained network as a SavedModel (tag `serve`) that runs without this package, in Python, C++ and LArSoft:
float32 images in, scores out, batch size open. The image size is that of --file, or SBND's where none is given,
after the run's downsampling. Signatures: serving_default and dense, flat, per_view, pixels (see docs/architecture.md).
"""
EXAMPLES = """
python -m cosmictagger_tf.export --run_id=first
saved_model_cli show --dir output/first/saved_model --tag_set serve --signature_def serving_default
"""
GROUPS = (OutputConfig, WeightsConfig, ExportConfig, DataConfig, NetworkConfig, ExecutionConfig)


def main(given, output, weights, export, data, network, settings) -> None:
    """Exports and says where to."""
    from cosmictagger_tf.inference.saved_model import export_run

    print(f"exported to {export_run(given, output, weights, export, data, network, settings)}")


if __name__ == "__main__":
    sys.exit(open_door("export", main, GROUPS, DESCRIPTION, EXAMPLES, with_given=True))
