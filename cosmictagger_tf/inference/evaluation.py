"""Evaluates a run's network over a file."""

from cosmictagger_tf import execution
from cosmictagger_tf.config import DataConfig, ExecutionConfig, NetworkConfig, OutputConfig, WeightsConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.pipeline import evaluation_dataset
from cosmictagger_tf.errors import DataError
from cosmictagger_tf.files import write_json
from cosmictagger_tf.inference.progress import Progress
from cosmictagger_tf.inference.trained import find_trained
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.training.evaluation import Evaluator, EventTable, join


def evaluate(
    given: frozenset,
    output: OutputConfig,
    weights: WeightsConfig,
    data: DataConfig,
    network: NetworkConfig,
    settings: ExecutionConfig,
) -> EventTable:
    """The confusion matrices of every event; also writes evaluation.json into the run's folder.

    Args:
        given: names of the options that the user set.

    Raises:
        UserError: no such run, weights that do not fit, a file without labels, a bad entry.
    """
    execution.prepare(settings)
    folder = RunFolder(output)
    trained = find_trained(given, folder, data, network, weights)
    reader = open_reader(trained.data)
    if not reader.has_labels:
        raise DataError(reader.files[0], f"has no label product {trained.data.producer_label}, which evaluate needs")
    evaluator = Evaluator(trained.segmenter(reader.shape), trained.scheme, settings.xla)
    dataset = evaluation_dataset(reader, trained.data)
    progress = Progress(len(reader), "evaluated")
    tables = []
    with dataset.errors_reraised():
        for batch in dataset.batches.as_numpy_iterator():
            tables.append(evaluator.table(batch))
            progress.advance(len(tables[-1].entries))
    table = join(tables)
    record = {"files": reader.files, "events": len(table.entries), "weights": str(trained.weights)}
    if folder.path.is_dir():
        write_json(folder.path / "evaluation.json", record | {"step": trained.step, "metrics": table.summary()})
    return table
