"""Runs a trained network over a data set and writes the file of what it gives."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cosmictagger_tf import execution
from cosmictagger_tf.clean_stop import exit_on_signals
from cosmictagger_tf.config import DataConfig, ExecutionConfig, PredictConfig, with_changes
from cosmictagger_tf.data.dataset import FilesReader, expand, open_reader
from cosmictagger_tf.data.pipeline import BatchStream
from cosmictagger_tf.data.sampling import FILLER
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import check_output, make_folder, sha256
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import TrainedModel, agreed_model
from cosmictagger_tf.inference.predict.event_predictions import EventPrediction, Usage, predictions_of
from cosmictagger_tf.inference.predict.predicted_products import PredictedProducts
from cosmictagger_tf.inference.predict.readout_table import readout_columns
from cosmictagger_tf.inference.predict.scores_file import (
    Part,
    WorkFolder,
    copied_products,
    join_parts,
    plan_parts,
    publish,
)
from cosmictagger_tf.inference.predict.waiting import signs_of_life, wait_for_parts
from cosmictagger_tf.inference.table_file import table_place, write_table
from cosmictagger_tf.networks.predictor import PixelPredictor
from cosmictagger_tf.progress import EventProgress
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.distributed.agreement import check_data, check_options, log_devices
from cosmictagger_tf.training.distributed.jobs import connect, run_as
from cosmictagger_tf.training.distributed.ranks import Ranks

log = logging.getLogger(__name__)


def predict_file(predict: PredictConfig, config: InferenceConfig) -> int:
    """Writes the file of scores, resuming what an earlier, stopped call left; returns its number of events.

    Started by horovodrun or mpirun, each rank computes its share of the parts, and rank 0 joins them. A table is
    written first, so that both are there once the file is.

    Raises:
        UserError: the file exists, there is no such run, the weights do not fit, an entry is bad.
    """
    work = WorkFolder(Path(predict.output))
    ranks = connect(config.distributed, lambda local_rank: execution.prepare(config.execution, local_rank))
    with ExitStack() as held:
        # Then the ranks disconnect and share only the folder: one may need an hour longer than another.
        begun = run_as(ranks, lambda ranks: begin(ranks, predict, config, work, held))
        reader, data = begun.reader, begun.predicted.data
        with exit_on_signals("" if ranks.rank else "the same command resumes from here"):
            parts = plan_parts(len(reader), data.minibatch_size)
            mine = parts[ranks.rank :: ranks.size]
            missing = [part for part in mine if not work.has(part)]
            report_resumption(mine, missing)
            predict_parts(begun, missing, work)
            if ranks.rank == 0:
                wait_for_parts(work, parts, ranks.size)
                joined = EventProgress(len(reader), "written")
                join_parts(reader, work, parts, begun.predicted, begun.copied, joined.advance)
                if config.readouts.table:
                    columns = readout_columns(reader, work, parts, begun.predicted.network)
                    write_table(columns, Path(config.readouts.table))
                publish(work)
                work.remove()
    reader.close()
    return len(reader)


class Prediction(NamedTuple):
    """A prediction on one of its ranks, ready to compute.

    Attributes:
        reader: of the input, without its labels.
        copied: names of the input's products that are carried over.
        predicted: what is written beside them.
        predictor: the network.
        usage: how its outputs are used.
    """

    reader: FilesReader
    copied: list[str]
    predicted: PredictedProducts
    predictor: PixelPredictor
    usage: Usage


def begin(ranks: Ranks, predict: PredictConfig, config: InferenceConfig, work: WorkFolder, held: ExitStack):
    """The Prediction, when all ranks agree on it and the folder of its parts exists.

    Args:
        held: gets the folder's lock, on rank 0, and the signs of life.
    """
    xla = execution.compiles(config.execution)
    with ranks.agreed():
        compared = (config.output, config.weights, config.data, config.network, config.execution, config.readouts)
        check_options(ranks, predict, *compared)
        check_place(work.output, predict.overwrite, config.data, config.readouts.table)
        if ranks.rank == 0:
            table_place(config.readouts.table)
        trained = agreed_model(ranks, config)
        check_heads(trained, config)
        # Labels are carried over as they are: a bad one is no reason not to predict.
        reader = open_reader(with_changes(trained.data, producer_label=""))
        assert isinstance(reader, FilesReader)
        check_data(ranks, "file", reader)
        log_devices(ranks)
        predicted = PredictedProducts(predict, trained.network, trained.data)
        copied = copied_products(reader, predicted.names)
        point = trained.point if predict.clean else None
        usage = Usage(reader.shape, trained.data.downsample, trained.calibration, config.readouts.prior or None, point)
        segmenter = trained.segmenter(reader.shape, xla, ranks)
        if ranks.rank == 0:
            make_folder(work.output.parent, "output")
            held.enter_context(work.locked())
            work.begin(describe_work(reader, trained, config.execution, usage))
    held.enter_context(signs_of_life(work, ranks))
    return Prediction(reader, copied, predicted, PixelPredictor(segmenter, xla), usage)


def check_heads(trained: TrainedModel, config: InferenceConfig):
    """Raises ConfigError where an option is for a head that the network has not, or its calibration lacks the prior."""
    network, prior = trained.network, config.readouts.prior
    for_heads = (
        (network.event_head, "event_head", ("prior", "producer_event_prediction")),
        (network.vertex_head, "vertex_head", ("producer_vertex_prediction",)),
    )
    for there, head, names in for_heads:
        for name in names:
            if not there and name in config.explicit:
                raise ConfigError(f"--{name}: this network has no --{head}: leave it out")
    if prior and trained.calibration.training_prior is None:
        raise ConfigError(
            f"--prior={prior:g}: cannot be put in, because what share of the training's readouts had a neutrino is not "
            f"recorded with {trained.weights}: leave it out, or calibrate the weights first"
        )


def check_place(path: Path, overwrite: bool, data: DataConfig, table: str):
    """Raises ConfigError where the file must not be written, or the table would take its place."""
    if data.synthetic:
        raise ConfigError("--synthetic: predict needs a file, whose products it carries over")
    # Compared as files, not as names: a file system may take Test.h5 for test.h5.
    if path.exists() and any(path.samefile(file) for file in expand(data.file) if Path(file).exists()):
        raise ConfigError(f"--output={path}: is an input, give another name")
    check_output(path, "output", overwrite)
    if table and Path(table).absolute() == path.absolute():
        raise ConfigError(f"--table={table}: is the --output, too: give another name")


def describe_work(reader: FilesReader, trained: TrainedModel, config: ExecutionConfig, usage: Usage) -> dict:
    """What the parts depend on: an earlier call's parts are used only where all of it is the same."""
    files = [(str(Path(part.path).resolve()), part.identity) for part in reader.parts]
    return {
        "files": [(name, identity.size, identity.modified_ns) for name, identity in files],
        "entries": [reader.first, len(reader)],
        "data": trained.data.to_dict(),
        "network": trained.network.to_dict(),
        "weights": trained.checksum or sha256(trained.weights),
        "calibration": usage.calibration.to_dict(),
        "working point": asdict(trained.point),
        "prior": usage.prior,
        "cleaned image": usage.cleaned_at is not None,
        "execution": {"precision": config.precision, "xla": execution.compiles(config)},
        "versions": execution.describe()["versions"],
    }


def report_resumption(parts: list[Part], missing: list[Part]):
    """Reports how much an earlier call left done, if any."""
    total, left = (sum(part.last - part.first for part in some) for some in (parts, missing))
    if left < total:
        log.info(f"resumed: {total - left} of {counted(total, 'event')} predicted before")


def predict_parts(begun: Prediction, parts: list[Part], work: WorkFolder):
    """Computes parts and saves each when it is complete."""
    reader, data = begun.reader, begun.predicted.data
    size = data.minibatch_size

    def entries() -> Iterator[np.ndarray]:
        for part in parts:
            for first in range(part.first, part.last, size):
                batch = np.arange(first, first + size)
                yield np.where(batch < part.last, batch, FILLER)

    progress = EventProgress(sum(part.last - part.first for part in parts), "predicted")
    stream = BatchStream(reader, data, size, entries, begun.predictor.segmenter.prepare)
    predictions = chain.from_iterable(predict_events(begun.predictor, stream, begun.usage, progress.advance))
    for part in parts:
        work.save(part, [next(predictions) for _ in range(part.first, part.last)])


def predict_events(
    predictor: PixelPredictor,
    stream: BatchStream,
    usage: Usage,
    advance: Callable[[int], None] = lambda events: None,
) -> Iterator[list[EventPrediction]]:
    """For each batch what is kept of its events.

    Raises:
        DataError: an output of an event is not finite.
    """
    for batch in stream.generate():
        events = predictions_of(batch, predictor.predict_on_batch(batch), usage, stream.reader)
        advance(len(events))
        yield events
