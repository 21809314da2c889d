"""The training run, from configs to trained weights, in the order in which it happens."""

import contextlib
import logging
from functools import partial

import keras

from cosmictagger_tf import execution
from cosmictagger_tf.config import DataConfig, check_image_shape, with_changes
from cosmictagger_tf.config.backend_limits import refuse_limits
from cosmictagger_tf.data.dataset import Reader, expand, open_labelled
from cosmictagger_tf.data.pipeline import evaluation_dataset, training_dataset
from cosmictagger_tf.data.sampling import training_entries
from cosmictagger_tf.data.truth_products import check_producers
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.launch import launched
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.networks.normalization import synchronise_statistics
from cosmictagger_tf.progress import activity
from cosmictagger_tf.runs import RunFolder, architecture, flag_lines
from cosmictagger_tf.text import counted
from cosmictagger_tf.training import callbacks, dry_run, recorders, tensorboard
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.checkpoints.store import CheckpointStore
from cosmictagger_tf.training.distributed import jobs
from cosmictagger_tf.training.distributed.agreement import check_data, check_options, log_devices
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.evaluation import Evaluator, EventTable, evaluate_all, readout_columns
from cosmictagger_tf.training.event_losses import HeadWeights
from cosmictagger_tf.training.finetuning import begin_from, freeze_layers
from cosmictagger_tf.training.model import SegmentationModel, batches_for_fit
from cosmictagger_tf.training.optimizers import build_optimizer
from cosmictagger_tf.training.run_config import (
    RunConfig,
    TrainingResult,
    facts_of,
    learning_rate,
    log_augmentation,
    log_changes,
    log_unused,
    steps_per_epoch,
    total_steps,
)
from cosmictagger_tf.training.speed import Progress
from cosmictagger_tf.training.truth_check import check_truth

log = logging.getLogger(__name__)


def train(config: RunConfig) -> TrainingResult:
    """Trains a network, or resumes the run of the same id; with other ranks, where a launcher started them.

    Args:
        config: of the run.

    Raises:
        UserError: whatever the user can mend, before or during the training.
    """
    refuse_limits(keras.backend.backend(), config.sections.values(), launched())
    prepare = partial(execution.prepare, config.execution)
    return jobs.run(config.distributed, prepare, lambda ranks: train_as(ranks, config))


def train_as(ranks: Ranks, config: RunConfig) -> TrainingResult:
    """`train` as one of the ranks."""
    folder = RunFolder(config.output)
    with contextlib.ExitStack() as held:
        with ranks.agreed():
            check_options(ranks, *config.sections.values())
            ranks.part("minibatch_size", config.data.minibatch_size)
            if ranks.rank == 0:
                folder.prepare()
                held.enter_context(folder.locked())
        return train_in(folder, ranks, config)


def train_in(folder: RunFolder, ranks: Ranks, config: RunConfig) -> TrainingResult:
    """`train_as` in the run's folder, locked."""
    with ranks.agreed():
        reader, aux_reader = open_files(config)
        check_data(ranks, "file", reader)
        if aux_reader:
            check_data(ranks, "aux_file", aux_reader)
        log_devices(ranks)
        if ranks.rank == 0:
            facts = facts_of(reader, aux_reader, ranks.size)
            log_changes(folder, config, facts)
        log_augmentation(config, reader.shape)
        total = total_steps(config, reader)
        with activity("building the network"):
            model = build_model(config, reader, total, ranks)
        log.info(
            f"network: {config.network.conv_mode}, {model.network.count_params():,} weights, images of {model.shape}"
        )

        store = CheckpointStore(
            folder.checkpoints, config.train.keep_checkpoints, architecture(config.network), folder.history
        )
        done: tuple[int, list] = 0, []
        if ranks.rank == 0:
            manifest = store.restore(model.network, model.state)
            if manifest is None and config.train.init_from:
                begin_from(config, model.segmenter)
            done = (manifest or {}).get("step", 0), (manifest or {}).get("skipped", [])
            log_unused(config, done[0], total, manifest is not None, ranks)
            facts |= {"parameters": model.network.count_params()} | execution.describe()
            folder.write_record(config.sections, facts)
    model.share_state(ranks)
    start, known = ranks.gather(done)[0]
    bad = BadEvents(config.skip.skip_bad_events, ranks, known)
    if start >= total:
        log.info(f"nothing to do: the run has done {start} of {counted(total, 'step')}")
        return TrainingResult(start, total, None, ranks.rank)

    step, exit_status = fit(model, reader, aux_reader, store, folder, config, Progress(start, total), ranks, bad)
    if bad.places:
        log.info(
            f"{len(bad.places)} of {counted(len(reader), 'event')} could not be read, and others took their places"
        )
    if step < total and exit_status is None:
        raise RuntimeError(f"training ended at step {step} of {total} without a reason")
    return TrainingResult(step, total, exit_status, ranks.rank)


def describe(config: RunConfig):
    """What train would do, without doing it; writes nothing.

    Args:
        config: of the run.

    Raises:
        UserError: what would stop the training at its beginning.
    """
    refuse_limits(keras.backend.backend(), config.sections.values(), launched())
    execution.prepare(config.execution)
    reader, aux_reader = open_files(config)
    facts = facts_of(reader, aux_reader)
    del facts["ranks"]
    log_changes(RunFolder(config.output), config, facts)
    log_augmentation(config, reader.shape)
    total = total_steps(config, reader)
    log_unused(config, 0, total, False, Ranks())
    model = build_model(config, reader, total, Ranks())
    if config.train.init_from:
        begin_from(config, model.segmenter)
    log.info("\n".join(["", *flag_lines(config.sections), "", dry_run.network_table(model.network), ""]))
    log.info(dry_run.layer_names(model.network) + "\n")
    skip, prepare = config.skip.skip_bad_events, model.segmenter.prepare
    stream = training_dataset(reader, config.data, config.execution.seed, steps=1, prepare=prepare, skip=skip)
    log.info(dry_run.describe_step(model, first_batch(stream), config.data.minibatch_size))
    steps = f"{counted(steps_per_epoch(reader, config.data), 'step', '.4g')} a pass, {counted(total, 'step')} in all"
    log.info(f"{counted(len(reader), 'event')}, {steps}")


def open_files(config: RunConfig) -> tuple[Reader, Reader | None]:
    """The readers of --file, with truth where the network has heads, and, if given, of --aux_file.

    Raises:
        ConfigError, DataError: see open_labelled and check_truth; or the images of --aux_file have another size.
    """
    truth = config.truth if config.network.has_heads else None
    reader = open_labelled(config.data, truth)
    if truth:
        check_producers(reader, truth)
        check_truth(reader, config.network, truth)
    if not config.train.aux_file:
        return reader, None
    # What is measured of it, its labels tell.
    other = open_labelled(aux_data(config))
    if other.shape != reader.shape:
        raise ConfigError(f"--aux_file={','.join(other.files)}: {other.shape}, while --file has {reader.shape}")
    return reader, other


def build_model(config: RunConfig, reader: Reader, total: int, ranks: Ranks) -> SegmentationModel:
    """The compiled Keras model, its optimizer's variables made."""
    data, optimizer = config.data, config.optimizer
    check_image_shape(reader.shape, data.downsample, config.network.network_depth)
    shape = reader.shape.downsampled(data.downsample)
    many = ranks.size > 1 or ranks.elastic
    # Synchronised statistics are exchanged inside the network, which XLA does not compile.
    synchronised = many and config.distributed.sync_batch_norm
    xla = execution.compiles(config.execution) and not synchronised
    segmenter, scheme = build_segmenter(config.network, shape, static=xla), optimizer.loss_balance_scheme
    head_weights = HeadWeights.chosen(optimizer)
    freeze_layers(segmenter.network, optimizer.freeze)
    if many:
        from cosmictagger_tf.training.distributed.exchange import GradientExchange
        from cosmictagger_tf.training.distributed.ranked_model import RankedModel

        exchange = GradientExchange(ranks, config.distributed)
        model: SegmentationModel = RankedModel(segmenter, scheme, exchange, xla, head_weights)
    else:
        model = SegmentationModel(segmenter, scheme, head_weights)
    schedule = learning_rate(config, reader, total, ranks.size)
    model.compile(
        optimizer=build_optimizer(optimizer, schedule, scale_loss=config.execution.precision == "mixed"),
        jit_compile=xla and not many,
        steps_per_execution=config.train.steps_per_execution,
        auto_scale_loss=False,
    )
    model.optimizer.build(model.network.trainable_variables)
    if many:
        if synchronised:
            synchronise_statistics(model.network, ranks.mean, ranks.size)
        exchange.install(model.optimizer, xla)
        exchange.shared = [model.guard.loss_fault]
    return model


def fit(
    model, reader, aux_reader, store, folder, config: RunConfig, progress: Progress, ranks: Ranks, bad: BadEvents
) -> tuple[int, int | None]:
    """Runs model.fit with everything that watches it; returns the last step, and the exit status of a signal."""
    with ranks.agreed():
        start, steps, prepare = progress.start, progress.total - progress.start, model.segmenter.prepare
        place, augment, seed = (ranks.rank, ranks.size), config.train.augment, config.execution.seed
        dataset = training_dataset(reader, config.data, seed, start, steps, *place, prepare, augment, bad.most)
        if keras.backend.backend() == "jax":
            # It compiles a step again for lists of another length, which takes minutes.
            dataset.longest = reader.most_voxels()
        sinks = open_recorders(folder, config, progress, model) if ranks.rank == 0 else []
        stop = callbacks.CleanStop()
        skipped = callbacks.SkippedEvents(dataset.bad_events, bad)
        every, manifest = config.train.checkpoint_iteration, config.manifest(ranks.size)
        checkpoints = callbacks.Checkpoints(progress, store, every, manifest, ranks, skipped)

        def events(step: int) -> list[str]:
            entries = training_entries(seed, step, config.data.minibatch_size, len(reader), *place)
            return [dataset.name(int(entry)) for entry in entries]

        terminal = next((sink for sink in sinks if isinstance(sink, recorders.Terminal)), None)
        shown = callbacks.ShownSteps(progress, terminal, execution.compiles(config.execution))
        readers = [
            *(build_summaries(model, aux_reader or reader, folder, config, progress) if ranks.rank == 0 else []),
            build_recorder(sinks, dataset, reader, config, progress, ranks),
            *build_validation(model, reader, aux_reader, config, sinks, checkpoints, progress, ranks, bad),
            checkpoints,
        ]
        watchers = [
            callbacks.RestoredMetrics(model.metrics),
            callbacks.FiniteStop(progress, events, ranks, readers),
            skipped,
            *readers,
            stop,
            shown,
            *([callbacks.RanksChange(checkpoints)] if ranks.elastic else []),
        ]
    try:
        with dataset.errors_reraised():
            batches = batches_for_fit(dataset)
            model.fit(batches, steps_per_epoch=steps, callbacks=watchers, shuffle=False, verbose=0)
    finally:
        shown.first_step.close()
        for sink in sinks:
            sink.close()
    return checkpoints.last_step, stop.exit_status


def open_recorders(folder: RunFolder, config: RunConfig, progress, model) -> list[recorders.RecordSink]:
    """Where the run's numbers go: terminal, history.csv, TensorBoard."""
    planes, of_heads = model.shape.planes, model.events.result() if model.events else {}
    of_readouts = readout_columns(planes, config.network.event_head)
    columns = recorders.history_columns(planes, [*of_heads, *of_readouts])
    return [
        recorders.Terminal(progress.total, config.train.logging_iteration),
        recorders.CsvHistory(folder.history, columns, progress.start),
        tensorboard.Scalars(folder.logs, config.train.summary_iteration),
    ]


def build_recorder(sinks, dataset, reader, config: RunConfig, progress, ranks: Ranks) -> callbacks.Recorder:
    """The callback that records the training."""
    schedule = learning_rate(config, reader, progress.total, ranks.size)
    intervals = {config.train.logging_iteration, config.train.summary_iteration}
    return callbacks.Recorder(progress, sinks, intervals, config.data.minibatch_size, dataset.waited, schedule)


def build_summaries(
    model, reader: Reader, folder: RunFolder, config: RunConfig, progress
) -> list[callbacks.StepCallback]:
    """Writes hyperparameters and graph for TensorBoard; returns the callbacks for pictures and profile."""
    run = config.train
    if progress.start == 0:
        tensorboard.write_hyperparameters(folder.logs, config.sections, config.output.run_id, bool(run.aux_file))
        tensorboard.write_graph(folder.logs / "train", model.network)
    summaries: list[callbacks.StepCallback] = []
    if not run.no_summary_images:
        split, data = "validation" if run.aux_file else "train", with_changes(config.data, minibatch_size=1)
        skip, prepare = config.skip.skip_bad_events, model.segmenter.prepare
        batch = first_batch(evaluation_dataset(reader, data, prepare=prepare, skip=skip))
        every, logs = run.summary_image_iteration, folder.logs / split
        summaries.append(
            tensorboard.Pictures(progress, model.segmenter, batch, logs, every, execution.compiles(config.execution))
        )
    steps = run.profiled_steps()
    if steps:
        summaries.append(tensorboard.Profile(progress, folder.logs / "train", *steps, run.steps_per_execution))
    return summaries


def first_batch(stream) -> dict:
    """The first Batch of a BatchStream."""
    return next(stream.generate())


def aux_data(config: RunConfig) -> DataConfig:
    """Where the validation's events come from: all of --aux_file."""
    size = config.train.aux_minibatch_size or config.data.minibatch_size
    changes = {"file": expand(config.train.aux_file, "aux_file"), "synthetic": False, "minibatch_size": size}
    return with_changes(config.data, **changes, first_entry=0, max_entries=0)


def build_validation(
    model, reader, aux_reader, config: RunConfig, sinks, checkpoints, progress, ranks: Ranks, bad: BadEvents
) -> list[callbacks.StepCallback]:
    """The callbacks that validate; none without --aux_file."""
    run = config.train
    if not aux_reader:
        return []
    data = aux_data(config)
    ranks.part("aux_minibatch_size", data.minibatch_size)
    prepare, seed, place = model.segmenter.prepare, config.execution.seed + 1, (ranks.rank, ranks.size)
    evaluator = Evaluator(model.segmenter, model.scheme, execution.compiles(config.execution))
    validations: list[callbacks.StepCallback] = []
    if run.aux_iterations:
        begin = progress.start // run.aux_iterations * run.aux_iterations_batches
        stream = training_dataset(aux_reader, data, seed, begin, None, *place, prepare=prepare, skip=bad.most)
        count, every = run.aux_iterations_batches, run.aux_iterations
        validations.append(callbacks.Validation(progress, evaluator, stream, count, every, sinks, ranks, bad))
    if run.aux_epochs:

        def evaluate() -> EventTable:
            stream = evaluation_dataset(aux_reader, data, *place, prepare=prepare, skip=bad.most)
            return evaluate_all(evaluator, stream, ranks, bad)

        pause = run.aux_epochs * steps_per_epoch(reader, config.data)
        validations.append(callbacks.WholeValidation(progress, evaluate, pause, sinks, checkpoints))
    return validations
