"""The training run on Keras's JAX backend: one process, one device; needs no TensorFlow.

The same data in the same order, network, loss, optimizer and files as trainer.py, whose checkpoints other commands take
alike. What it has not, it refuses by name: other ranks, validation, TensorBoard, mixed precision.
"""

from cosmictagger_tf import execution
from cosmictagger_tf.config import check_image_shape
from cosmictagger_tf.data.dataset import Reader, open_labelled
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.launch import launched
from cosmictagger_tf.networks.build import build_segmenter
from cosmictagger_tf.runs import RunFolder, architecture
from cosmictagger_tf.training.bad_events import BadEvents
from cosmictagger_tf.training.checkpoints import CheckpointStore
from cosmictagger_tf.training.finetuning import begin_from, freeze_layers
from cosmictagger_tf.training.jax_fit import JaxFit
from cosmictagger_tf.training.jax_step import JaxStep, refuse_by_name, refuse_step
from cosmictagger_tf.training.optimizers import build_optimizer
from cosmictagger_tf.training.ranks import Ranks
from cosmictagger_tf.training.recorders import CsvHistory, RecordSink, Terminal, history_columns
from cosmictagger_tf.training.run_config import (
    RunConfig,
    TrainingResult,
    facts_of,
    learning_rate,
    say_augmentation,
    say_changes,
    say_unused,
    total_steps,
)


def train(config: RunConfig, say=print) -> TrainingResult:
    """Trains a network, or goes on with a run of the same id.

    Args:
        config: of the run.
        say: takes one line of news for the user.

    Raises:
        UserError: whatever the user can mend, before or during the training.
    """
    refuse(config)
    execution.prepare(config.execution)
    folder = RunFolder(config.output)
    folder.prepare()
    with folder.locked(say):
        return train_in(folder, config, say)


def refuse(config: RunConfig):
    """Raises ConfigError where an option asks for what a training with JAX has not."""
    run, optimizer, settings = config.train, config.optimizer, config.execution
    refuse_step(config.network, settings)
    refuse_by_name(
        {
            "aux_file": (run.aux_file, "does not validate; evaluate the run afterwards"),
            "dry_run": (run.dry_run, "cannot tell beforehand what a step will take"),
            "profile": (run.profile, "writes no profile"),
            "steps_per_execution": (run.steps_per_execution > 1, "takes one step at a time"),
            "ema_momentum": (optimizer.ema_momentum, "keeps no moving average of the weights"),
            "gradient_accumulation": (optimizer.gradient_accumulation > 1, "updates at each step"),
            "inter_op_parallelism_threads": (settings.inter_op_parallelism_threads, "sets no threads"),
            "intra_op_parallelism_threads": (settings.intra_op_parallelism_threads, "sets no threads"),
            "distributed=true": (config.distributed.distributed == "true", "is of one process"),
        }
    )
    if launched().many:
        raise ConfigError(
            f"{launched().launcher} started {launched().size} ranks, and a training with KERAS_BACKEND=jax is of one "
            "process: start it without the launcher, or use TensorFlow"
        )


def train_in(folder: RunFolder, config: RunConfig, say) -> TrainingResult:
    """What `train` does in a folder that is locked for it."""
    reader = open_labelled(config.data)
    facts = facts_of(reader)
    say_changes(folder, config, facts, say)
    say_augmentation(config, reader.shape, say)
    total = total_steps(config, reader)
    step = build_step(config, reader, total, say)
    network, shape = step.segmenter.network, step.segmenter.shape
    say(f"network: {config.network.conv_mode}, {network.count_params():,} weights, images of {shape}")
    say("JAX: records go to the terminal and to history.csv; there is no TensorBoard and no validation")

    store = CheckpointStore(
        folder.checkpoints, config.train.keep_checkpoints, architecture(config.network), folder.history
    )
    manifest = store.restore(network, step.optimizer.variables, say)
    if manifest is None and config.train.init_from:
        begin_from(config, step.segmenter, say)
    start = manifest["step"] if manifest else 0
    say_unused(config, start, total, manifest is not None, Ranks(), say)
    facts |= {"parameters": network.count_params()} | execution.describe()
    folder.write_record(config.sections, facts)
    if start >= total:
        say(f"nothing to do: the run has done {start} of {total} steps")
        return TrainingResult(start, total, None)

    known = (manifest or {}).get("skipped", [])
    fit = JaxFit(config, reader, step, store, BadEvents(config.skip.skip_bad_events, Ranks(), say, known))
    sinks: list[RecordSink] = [
        Terminal(total, config.train.logging_iteration),
        CsvHistory(folder.history, history_columns(shape.planes), start),
    ]
    try:
        return fit.run(start, total, sinks)
    finally:
        for sink in sinks:
            sink.close()


def build_step(config: RunConfig, reader: Reader, total: int, say) -> JaxStep:
    """The network and its optimizer, at their beginning."""
    check_image_shape(reader.shape, config.data.downsample, config.network.network_depth)
    shape = reader.shape.downsampled(config.data.downsample)
    segmenter = build_segmenter(config.network, shape, static=True)
    freeze_layers(segmenter.network, config.optimizer.freeze, say)
    optimizer = build_optimizer(config.optimizer, learning_rate(config, reader, total))
    return JaxStep(segmenter, optimizer, config.optimizer.loss_balance_scheme)
