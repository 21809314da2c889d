"""Command: a trained network as a model that others can run."""

import sys

from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.config import (
    RUN,
    DataConfig,
    ExecutionConfig,
    ExportConfig,
    NetworkConfig,
    OutputConfig,
    WeightsConfig,
)
from cosmictagger_tf.inference.inference_config import InferenceConfig

DESCRIPTION = """
Writes a trained network as a SavedModel (tag `serve`) that runs without this package, in Python, C, C++ and LArSoft:
float32 images or pixels in, scores out, batch size open. The image size is that of --file, or, where none is given,
that of the images that the network was trained on, after the run's downsampling, or before it with
--export_preprocessing. Signatures: dense, flat, per_view, per_view_flat, pixels, serving_default, and events for a
network with heads, whose class probabilities and vertices dense and pixels give too (docs/inference.md).
--export_format=keras writes a .keras file instead.
"""
EXAMPLES = """
python -m cosmictagger_tf.export --run_id=first
python -m cosmictagger_tf.export --run_id=first --export_preprocessing --export_dir=models/first
saved_model_cli show --dir output/first/saved_model --tag_set serve --signature_def serving_default
"""
GROUPS = (OutputConfig, WeightsConfig, ExportConfig, DataConfig, NetworkConfig, ExecutionConfig)


def main(explicit, output, weights, export, data, _, execution) -> None:
    from cosmictagger_tf.inference.export.export_run import export_run

    path = export_run(export, InferenceConfig(output, weights, data, execution, explicit=explicit))
    print(f"exported to {path}")


if __name__ == "__main__":
    sys.exit(run_command("export", main, GROUPS, DESCRIPTION, EXAMPLES, in_flagfiles=RUN, takes="explicit"))
