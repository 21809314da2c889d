"""The configs of a training run, and what follows from them alone, on every backend."""

import logging
import math
from dataclasses import astuple, dataclass, field

import keras

from cosmictagger_tf import execution
from cosmictagger_tf.config import (
    Config,
    DataConfig,
    DistributedConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    SkipConfig,
    TrainConfig,
    TruthConfig,
)
from cosmictagger_tf.config.unused import describe_unused
from cosmictagger_tf.data.augmentation import knows_cathode
from cosmictagger_tf.data.dataset import Reader
from cosmictagger_tf.detector import ImageShape
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.distributed.ranks import Ranks
from cosmictagger_tf.training.schedules import Scaled, build_schedule, scaling_factor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfig:
    """The configs of a training run."""

    data: DataConfig
    network: NetworkConfig
    optimizer: OptimizerConfig
    execution: ExecutionConfig
    output: OutputConfig
    train: TrainConfig
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    skip: SkipConfig = field(default_factory=SkipConfig)
    truth: TruthConfig = field(default_factory=TruthConfig)
    # Names of the options that the user chose (flags.Parsed.chosen).
    chosen: frozenset[str] = frozenset()

    @property
    def sections(self) -> dict[str, Config]:
        """The configs that run.json records, by section."""
        names = ("output", "data", "truth", "skip", "network", "optimizer", "train", "execution", "distributed")
        return {name: getattr(self, name) for name in names}

    @property
    def compared_sections(self) -> dict[str, Config]:
        """Those whose changes a resumed run refuses, or names."""
        return {name: config for name, config in self.sections.items() if name != "output"}

    def manifest(self, ranks: int) -> dict:
        """What a checkpoint's manifest records of the run: the configs, the number of ranks, versions and machine."""
        record = {"config": {name: config.to_dict() for name, config in self.sections.items()}, "ranks": ranks}
        return record | execution.describe()


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        step: training steps done in all.
        total: steps of the whole run.
        exit_status: None, or the status that a signal asks for.
        rank: of this process; rank 0 reports for all.
    """

    step: int
    total: int
    exit_status: int | None
    rank: int = 0


def facts_of(reader: Reader, aux_reader: Reader | None = None, ranks: int = 1) -> dict:
    """What run.json records of the data and the ranks beside the configs."""
    facts = {"events": len(reader), "events_checksum": reader.checksum(), "ranks": ranks}
    facts |= {"image_shape": list(astuple(reader.shape)), "backend": keras.backend.backend()}
    return facts | ({"validation_checksum": aux_reader.checksum()} if aux_reader else {})


def log_changes(folder: RunFolder, config: RunConfig, facts: dict):
    """Names what differs from the run's last start; raises ConfigError where it may not."""
    for change in folder.check_resumable(config.compared_sections, facts):
        log.info(f"changed since this run began: {change}")


def log_unused(config: RunConfig, start: int, total: int, resumed: bool, ranks: Ranks):
    """Names the options that the user chose and that do nothing, and the steps whose gradients are not used.

    Args:
        config: of the run.
        start, total: steps that are done, and that will be.
        resumed: a checkpoint of the run's own was loaded.
        ranks: those that train.
    """
    facts = {"start": start, "total": total, "resumed": resumed, "many_ranks": ranks.size > 1 or ranks.elastic}
    backend = keras.backend.backend()
    line = describe_unused("train", config.chosen, config.sections.values(), **facts, backend=backend)
    if line:
        log.info(line)
    steps = config.optimizer.gradient_accumulation
    if total % steps:
        log.info(
            f"--gradient_accumulation={steps}: the last {total % steps} of {counted(total, 'step')} make no update"
        )


def log_augmentation(config: RunConfig, shape: ImageShape):
    """Reports what --augment leaves out of images that are not SBND's."""
    if config.train.augment and not knows_cathode(shape):
        reason = f"where the cathode is in {shape} is not known, as it is of SBND's {ImageShape()}"
        log.info(f"--augment: gains and noise, without mirror and shift: {reason}")


def total_steps(config: RunConfig, reader: Reader) -> int:
    """Steps of the whole training."""
    return config.train.iterations or math.ceil(config.train.epochs * steps_per_epoch(reader, config.data))


def steps_per_epoch(reader: Reader, data: DataConfig) -> float:
    """Steps of a pass over the data; no integer where a batch straddles two passes."""
    return len(reader) / data.minibatch_size


def learning_rate(config: RunConfig, reader: Reader, total: int, ranks: int = 1):
    """The schedule of the learning rate."""
    epoch = steps_per_epoch(reader, config.data)
    schedule = build_schedule(config.optimizer, epoch, total)
    factor = scaling_factor(config.distributed.lr_scaling, ranks)
    return schedule if factor == 1.0 else Scaled(schedule, factor, config.distributed.lr_scaling_epochs * epoch)
