"""Runs a trained network over a data set and writes the file of its scores."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np

from cosmictagger_tf import execution
from cosmictagger_tf.clean_stop import exit_on_signals
from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OutputConfig,
    PredictConfig,
    RanksConfig,
    WeightsConfig,
    with_changes,
)
from cosmictagger_tf.data.dataset import FilesReader, Reader, expand, open_reader
from cosmictagger_tf.data.pipeline import BatchStream
from cosmictagger_tf.data.sampling import FILLER
from cosmictagger_tf.errors import ConfigError, DataError
from cosmictagger_tf.files import check_output, make_folder, sha256
from cosmictagger_tf.inference.batches import prepared_batches
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
from cosmictagger_tf.inference.progress import Progress
from cosmictagger_tf.networks.predictor import PixelPredictor
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.distributed.agreement import check_data, check_options, tell_devices
from cosmictagger_tf.training.distributed.jobs import connect, run_as
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.evaluation import not_finite


def predict_file(
    given: frozenset,
    predict: PredictConfig,
    output: OutputConfig,
    weights: WeightsConfig,
    data: DataConfig,
    network: NetworkConfig,
    settings: ExecutionConfig,
    distributed: RanksConfig | None = None,
) -> int:
    """Writes the file of scores, going on with what an earlier, stopped call left; returns its number of events.

    Started by horovodrun or mpirun, each rank computes its share of the parts, and rank 0 joins them.

    Args:
        given: names of the options that the user set.
        predict, output, weights, data, network, settings, distributed: the configs of those names.

    Raises:
        UserError: the file exists, there is no such run, the weights do not fit, an entry is bad.
    """
    path = Path(predict.output)
    work = WorkFolder(path)
    producers = (predict.producer_neutrino_score, predict.producer_cosmic_score)
    ranks = connect(distributed, lambda local_rank: execution.prepare(settings, local_rank))
    with ExitStack() as held:

        def begin(ranks: Ranks) -> tuple[FilesReader, list[str], DataConfig, PixelPredictor]:
            # When all ranks have come out of this block, the folder is there.
            with ranks.agreed():
                check_options(ranks, predict, output, weights, data, network, settings)
                check_place(path, predict.overwrite, data)
                trained = agreed_model(ranks, given, RunFolder(output), data, network, weights)
                # Labels are carried over as they are: a bad one is no reason not to predict.
                reader = open_reader(with_changes(trained.data, producer_label=""))
                assert isinstance(reader, FilesReader)
                check_data(ranks, "file", reader)
                tell_devices(ranks, ranks.teller(print))
                copied = copied_products(reader, producers, ranks.teller(print))
                segmenter = trained.segmenter(reader.shape, execution.compiles(settings), ranks)
                if ranks.rank == 0:
                    make_folder(path.parent, "output")
                    held.enter_context(work.locked())
                    work.begin(describe_work(reader, trained, settings))
            held.enter_context(signs_of_life(work, ranks))
            return reader, copied, trained.data, PixelPredictor(segmenter, execution.compiles(settings))

        # Then the ranks part, and meet in the folder: one may need an hour longer than another.
        reader, copied, data, predictor = run_as(ranks, begin)
        with exit_on_signals("" if ranks.rank else "the same command goes on from here"):
            parts = plan_parts(len(reader), data.minibatch_size)
            mine = parts[ranks.rank :: ranks.size]
            missing = [part for part in mine if not work.has(part)]
            report_resumption(mine, missing, ranks.teller(print))
            predict_parts(reader, data, predictor, missing, work)
            if ranks.rank == 0:
                wait_for_parts(work, parts, ranks.size)
                joined = Progress(len(reader), "written")
                join_parts(reader, work, parts, producers, copied, data, path, joined.advance)
                work.remove()
    reader.close()
    return len(reader)


def check_place(path: Path, overwrite: bool, data: DataConfig):
    """Raises ConfigError where the file must not be written."""
    if data.synthetic:
        raise ConfigError("--synthetic: predict needs a file, whose products it carries over")
    # Compared as files, not as names: a file system may take Test.h5 for test.h5.
    if path.exists() and any(path.samefile(file) for file in expand(data.file) if Path(file).exists()):
        raise ConfigError(f"--output={path}: is an input, give another name")
    check_output(path, "output", overwrite)


def describe_work(reader: FilesReader, trained: TrainedModel, settings: ExecutionConfig) -> dict:
    """What the scores depend on: an earlier call's parts are used only where all of it is the same."""
    files = [(str(Path(part.path).resolve()), part.identity) for part in reader.parts]
    return {
        "files": [(name, identity.size, identity.modified_ns) for name, identity in files],
        "entries": [reader.first, len(reader)],
        "data": trained.data.to_dict(),
        "network": trained.network.to_dict(),
        "weights": trained.checksum or sha256(trained.weights),
        "background_shift": trained.background_shift,
        "execution": {"precision": settings.precision, "xla": execution.compiles(settings)},
        "versions": execution.describe()["versions"],
    }


def report_resumption(parts: list[Part], missing: list[Part], say=print):
    """Says how much an earlier call left done, if any."""
    total, left = (sum(part.last - part.first for part in some) for some in (parts, missing))
    if left < total:
        say(f"going on: {total - left} of {counted(total, 'event')} predicted before")


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

    progress = Progress(sum(part.last - part.first for part in parts), "predicted")
    stream = BatchStream(reader, data, size, entries, predictor.segmenter.prepare)
    found = chain.from_iterable(score_events(predictor, stream, progress.advance))
    for part in parts:
        work.save(part, [next(found) for _ in range(part.first, part.last)])


def score_events(
    predictor: PixelPredictor, stream: BatchStream, advance: Callable[[int], None] = lambda events: None
) -> Iterator[list[list[np.ndarray]]]:
    """For each batch a list an event of float32 [pixels, scored classes] a plane, in the order of its pixels.

    Raises:
        DataError: an event's scores are not finite.
    """
    for batch in prepared_batches(stream):
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
