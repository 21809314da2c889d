"""The training run, from configs to trained weights, in the order in which it happens."""

import math
from dataclasses import dataclass

from cosmictagger_tf import execution
from cosmictagger_tf.config import (
    DataConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    TrainConfig,
    check_image_shape,
    with_changes,
)
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.pipeline import training_dataset
from cosmictagger_tf.networks.segmentation import build_segmenter
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.training import callbacks, recorders
from cosmictagger_tf.training.checkpoints import CheckpointStore
from cosmictagger_tf.training.evaluation import Evaluator
from cosmictagger_tf.training.losses import BalancedLoss
from cosmictagger_tf.training.metrics import METRICS, plane_key
from cosmictagger_tf.training.model import SegmentationModel
from cosmictagger_tf.training.optimizers import build_optimizer


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        step: training steps done in all.
        total: steps that were asked for.
        exit_status: None, or the status that a signal asks for.
    """

    step: int
    total: int
    exit_status: int | None


def train(
    data: DataConfig,
    network: NetworkConfig,
    optimizer: OptimizerConfig,
    settings: ExecutionConfig,
    output: OutputConfig,
    run: TrainConfig,
    say=print,
) -> TrainingResult:
    """Trains a network, or goes on with a run of the same id.

    Args:
        say: takes one line of news for the user.

    Raises:
        UserError: whatever the user can mend, before or during the training.
    """
    folder = RunFolder(output)
    folder.prepare()
    sections = {"data": data, "network": network, "optimizer": optimizer, "execution": settings}
    for change in folder.check_resumable(sections):
        say(f"changed since this run began: {change}")
    execution.prepare(settings)

    reader = open_reader(data)
    check_image_shape(reader.shape, data.downsample, network.network_depth)
    total = run.iterations or math.ceil(run.epochs * len(reader) / data.minibatch_size)
    segmenter = build_segmenter(network, reader.shape.downsampled(data.downsample))
    model = build_model(segmenter, optimizer, settings)
    say(f"network: {network.conv_mode}, {model.network.count_params():,} weights, images of {segmenter.shape}")

    store = CheckpointStore(folder.checkpoints, run.keep_checkpoints)
    start = restore(model, store, say)
    folder.write_record({**sections, "train": run}, execution.describe())
    if start >= total:
        say(f"nothing to do: the run has done {start} of {total} steps")
        return TrainingResult(start, total, None)

    stop = fit(model, reader, store, folder, data, settings, run, start, total)
    step = int(model.step.numpy())
    if step < total and stop.exit_status is None:
        raise RuntimeError(f"training ended at step {step} of {total} without a reason")
    return TrainingResult(step, total, stop.exit_status)


def build_model(segmenter, optimizer: OptimizerConfig, settings: ExecutionConfig) -> SegmentationModel:
    """The compiled Keras model, its optimizer's variables made."""
    model = SegmentationModel(segmenter)
    model.compile(
        optimizer=build_optimizer(optimizer),
        loss=BalancedLoss(optimizer.loss_balance_scheme),
        jit_compile=settings.xla,
    )
    model.optimizer.build(model.network.trainable_variables)
    return model


def restore(model: SegmentationModel, store: CheckpointStore, say=print) -> int:
    """Loads the newest intact checkpoint; returns the steps done, 0 for a new run."""
    manifest = store.newest_valid(say)
    if manifest is None:
        return 0
    store.load_network(manifest["step"], model.network)
    store.load_state(manifest["step"], model.state_variables)
    say(f"resumed from {store.path(manifest['step'])}")
    return manifest["step"]


def fit(model, reader, store, folder, data, settings, run, start, total) -> callbacks.CleanStop:
    """Runs model.fit from step `start` to `total` with everything that watches it."""
    dataset = training_dataset(reader, data, settings.seed, start_step=start, steps=total - start)
    planes = [plane_key(name, plane) for name in METRICS for plane in range(reader.shape.planes)]
    pooled = [f"pooled/{name}" for name in METRICS]
    columns = ["split", "step", "images_per_second", "waiting", "loss", *METRICS, *pooled, *planes]
    sinks: list[recorders.RecordSink] = [
        recorders.Terminal(total, run.logging_iteration),
        recorders.CsvHistory(folder.history, columns, start),
        recorders.TensorBoardScalars(folder.logs, run.summary_iteration),
    ]
    intervals = {run.logging_iteration, run.summary_iteration}
    stop = callbacks.CleanStop()
    watchers = [
        callbacks.RestoredMetrics(model.metrics),
        callbacks.Recorder(sinks, intervals, start, total, data.minibatch_size, dataset.waited),
        *validation(model, data, settings, run, sinks, start),
        callbacks.Checkpoints(store, run.checkpoint_iteration, start, {"versions": execution.describe()}),
        stop,
    ]
    try:
        with dataset.errors_reraised():
            model.fit(
                dataset.batches, epochs=1, steps_per_epoch=total - start, callbacks=watchers, shuffle=False, verbose=0
            )
    finally:
        for sink in sinks:
            sink.close()
    return stop


def validation(model, data, settings, run, sinks, start) -> list[callbacks.Validation]:
    """The callback that validates, in a list; an empty list without --aux_file."""
    if not run.aux_file or not run.aux_iterations:
        return []
    size = run.aux_minibatch_size or data.minibatch_size
    config = with_changes(data, file=run.aux_file, minibatch_size=size, first_entry=0, max_entries=0)
    dataset = training_dataset(open_reader(config), config, settings.seed + 1, start_step=start // run.aux_iterations)
    evaluator = Evaluator(model.segmenter, model.loss.scheme, settings.xla)
    return [callbacks.Validation(evaluator, iter(dataset.batches), run.aux_iterations, sinks, start)]
