"""Runs a trained network over a data set and writes the file of its scores."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cosmictagger_tf import execution
from cosmictagger_tf.clean_stop import exit_on_signals
from cosmictagger_tf.config import DataConfig, ExecutionConfig, PredictConfig, with_changes
from cosmictagger_tf.data.dataset import FilesReader, Reader, expand, open_reader
from cosmictagger_tf.data.pipeline import BatchStream
from cosmictagger_tf.data.sampling import FILLER
from cosmictagger_tf.errors import ConfigError, DataError
from cosmictagger_tf.files import check_output, make_folder, sha256
from cosmictagger_tf.inference.inference_config import InferenceConfig
from cosmictagger_tf.inference.model_loading import TrainedModel, agreed_model
from cosmictagger_tf.inference.predict.scores_file import (
    SCORED,
    Part,
    WorkFolder,
    copied_products,
    join_parts,
    plan_parts,
)
from cosmictagger_tf.inference.predict.waiting import signs_of_life, wait_for_parts
from cosmictagger_tf.networks.predictor import PixelPredictor
from cosmictagger_tf.progress import EventProgress
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.distributed.agreement import check_data, check_options, log_devices
from cosmictagger_tf.training.distributed.jobs import connect, run_as
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.evaluation import not_finite

log = logging.getLogger(__name__)


def predict_file(predict: PredictConfig, config: InferenceConfig) -> int:
    """Writes the file of scores, resuming what an earlier, stopped call left; returns its number of events.

    Started by horovodrun or mpirun, each rank computes its share of the parts, and rank 0 joins them.

    Raises:
        UserError: the file exists, there is no such run, the weights do not fit, an entry is bad.
    """
    path = Path(predict.output)
    work = WorkFolder(path)
    ranks = connect(config.distributed, lambda local_rank: execution.prepare(config.execution, local_rank))
    with ExitStack() as held:
        # Then the ranks disconnect and share only the folder: one may need an hour longer than another.
        begun = run_as(ranks, lambda ranks: begin(ranks, predict, config, work, held))
        reader, data = begun.reader, begun.data
        with exit_on_signals("" if ranks.rank else "the same command resumes from here"):
            parts = plan_parts(len(reader), data.minibatch_size)
            mine = parts[ranks.rank :: ranks.size]
            missing = [part for part in mine if not work.has(part)]
            report_resumption(mine, missing)
            predict_parts(reader, data, begun.predictor, missing, work)
            if ranks.rank == 0:
                wait_for_parts(work, parts, ranks.size)
                joined = EventProgress(len(reader), "written")
                join_parts(reader, work, parts, producers(predict), begun.copied, data, path, joined.advance)
                work.remove()
    reader.close()
    return len(reader)


class Prediction(NamedTuple):
    """A prediction on one of its ranks, ready to compute.

    Attributes:
        reader: of the input, without its labels.
        copied: names of the input's products that are carried over.
        data: with the trained network's resolution.
        predictor: the network.
    """

    reader: FilesReader
    copied: list[str]
    data: DataConfig
    predictor: PixelPredictor


def begin(ranks: Ranks, predict: PredictConfig, config: InferenceConfig, work: WorkFolder, held: ExitStack):
    """The Prediction, when all ranks agree on it and the folder of its parts exists.

    Args:
        held: gets the folder's lock, on rank 0, and the signs of life.
    """
    xla = execution.compiles(config.execution)
    with ranks.agreed():
        check_options(ranks, predict, config.output, config.weights, config.data, config.network, config.execution)
        check_place(work.output, predict.overwrite, config.data)
        trained = agreed_model(ranks, config)
        # Labels are carried over as they are: a bad one is no reason not to predict.
        reader = open_reader(with_changes(trained.data, producer_label=""))
        assert isinstance(reader, FilesReader)
        check_data(ranks, "file", reader)
        log_devices(ranks)
        copied = copied_products(reader, producers(predict))
        segmenter = trained.segmenter(reader.shape, xla, ranks)
        if ranks.rank == 0:
            make_folder(work.output.parent, "output")
            held.enter_context(work.locked())
            work.begin(describe_work(reader, trained, config.execution))
    held.enter_context(signs_of_life(work, ranks))
    return Prediction(reader, copied, trained.data, PixelPredictor(segmenter, xla))


def producers(predict: PredictConfig) -> tuple[str, str]:
    """The producers of the scores, in the order of SCORED."""
    return predict.producer_neutrino_score, predict.producer_cosmic_score


def check_place(path: Path, overwrite: bool, data: DataConfig):
    """Raises ConfigError where the file must not be written."""
    if data.synthetic:
        raise ConfigError("--synthetic: predict needs a file, whose products it carries over")
    # Compared as files, not as names: a file system may take Test.h5 for test.h5.
    if path.exists() and any(path.samefile(file) for file in expand(data.file) if Path(file).exists()):
        raise ConfigError(f"--output={path}: is an input, give another name")
    check_output(path, "output", overwrite)


def describe_work(reader: FilesReader, trained: TrainedModel, config: ExecutionConfig) -> dict:
    """What the scores depend on: an earlier call's parts are used only where all of it is the same."""
    files = [(str(Path(part.path).resolve()), part.identity) for part in reader.parts]
    return {
        "files": [(name, identity.size, identity.modified_ns) for name, identity in files],
        "entries": [reader.first, len(reader)],
        "data": trained.data.to_dict(),
        "network": trained.network.to_dict(),
        "weights": trained.checksum or sha256(trained.weights),
        "background_shift": trained.background_shift,
        "execution": {"precision": config.precision, "xla": execution.compiles(config)},
        "versions": execution.describe()["versions"],
    }


def report_resumption(parts: list[Part], missing: list[Part]):
    """Reports how much an earlier call left done, if any."""
    total, left = (sum(part.last - part.first for part in some) for some in (parts, missing))
    if left < total:
        log.info(f"resumed: {total - left} of {counted(total, 'event')} predicted before")


def predict_parts(
    reader: FilesReader, data: DataConfig, predictor: PixelPredictor, parts: list[Part], work: WorkFolder
):
    """Computes parts and saves each when it is complete."""
    size = data.minibatch_size

    def entries() -> Iterator[np.ndarray]:
        for part in parts:
            for first in range(part.first, part.last, size):
                batch = np.arange(first, first + size)
                yield np.where(batch < part.last, batch, FILLER)

    progress = EventProgress(sum(part.last - part.first for part in parts), "predicted")
    stream = BatchStream(reader, data, size, entries, predictor.segmenter.prepare)
    scores = chain.from_iterable(score_events(predictor, stream, progress.advance))
    for part in parts:
        work.save(part, [next(scores) for _ in range(part.first, part.last)])


def score_events(
    predictor: PixelPredictor, stream: BatchStream, advance: Callable[[int], None] = lambda events: None
) -> Iterator[list[list[np.ndarray]]]:
    """For each batch a list an event of float32 [pixels, scored classes] a plane, in the order of its pixels.

    Raises:
        DataError: an event's scores are not finite.
    """
    for batch in stream.generate():
        scores = np.asarray(predictor.predict_on_batch(batch), np.float32)[..., SCORED]
        lengths = (np.asarray(batch["image_coordinates"])[..., 0] >= 0).sum(axis=-1)
        events = [
            [plane[:length] for plane, length in zip(event, planes, strict=True)]
            for event, planes, entry in zip(scores, lengths, np.asarray(batch["entries"]), strict=True)
            if entry != FILLER
        ]
        check_scores(events, stream.reader, [int(entry) for entry in batch["entries"] if entry != FILLER])
        advance(len(events))
        yield events


def check_scores(events: list[list[np.ndarray]], reader: Reader, entries: list[int]):
    """Raises DataError for the first event, of these entries, with a score that is not finite."""
    for event, entry in zip(events, entries, strict=True):
        for plane, scores in enumerate(event):
            if wrong := int((~np.isfinite(scores)).any(axis=-1).sum()):
                file, place = reader.place(entry)
                raise DataError(file, not_finite(wrong), place, plane)
