"""Where the files of an evaluation go; looked at before Keras is imported."""

from pathlib import Path

from cosmictagger_tf.config import EvaluateConfig, OutputConfig, WeightsConfig
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import make_place
from cosmictagger_tf.runs import RunFolder, is_file_of_run


def report_files(evaluate: EvaluateConfig, output: OutputConfig, weights: WeightsConfig) -> tuple[Path, ...]:
    """The report's HTML, JSON and CSV files, beside each other: of --report, or in the folder of the run whose weights
    they are; none where there is no such folder."""
    folder = RunFolder(output).path
    if not evaluate.report and not (weights.of_run and folder.is_dir()):
        return ()
    page = Path(evaluate.report) if evaluate.report else folder / "evaluation.html"
    return page, page.with_suffix(".json"), page.with_suffix(".csv")


def report_place(evaluate: EvaluateConfig, output: OutputConfig, weights: WeightsConfig) -> Path | None:
    """Where the HTML file goes, see report_files; None where there is no place. Its folder is made.

    Raises:
        ConfigError: it cannot be written there.
    """
    files = report_files(evaluate, output, weights)
    if any(map(is_file_of_run, files)):
        raise ConfigError(f"--report={files[0]}: its tables would replace the run's own files; give another name")
    for path in files:
        make_place(path, "report")
    return files[0] if files else None
