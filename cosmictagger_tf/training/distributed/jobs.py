"""Runs a job as the process was launched: as one of many ranks, or alone, without Horovod and TensorFlow."""

from collections.abc import Callable
from typing import Any, TypeVar

from cosmictagger_tf.config import RanksConfig
from cosmictagger_tf.console import show_rank
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.execution import pin_gpu
from cosmictagger_tf.launch import Launch, launched
from cosmictagger_tf.training.distributed.ranks import Ranks

Result = TypeVar("Result")
Prepare = Callable[[int | None], None]


def run(config: RanksConfig, prepare: Prepare, job: Callable[[Ranks], Result]) -> Result:
    """Runs a job as the process was launched: alone, or as one of the ranks that horovodrun or mpirun started.

    Args:
        config: whether a launcher is expected.
        prepare: sets the process up before TensorFlow looks for its devices; takes the local rank, or None.
        job: takes the Ranks; called again, with other Ranks, where ranks come and go.

    Raises:
        ConfigError: --distributed contradicts the launcher.
        MissingPackageError: there is a launcher, but no Horovod.
        RankLost: another rank is gone.
        StoppedElsewhere: another rank stopped, and reports why.
    """
    if launched().elastic and is_distributed(config, launched()):
        from cosmictagger_tf.training.distributed.horovod_ranks import run_elastic

        return run_elastic(prepare, job)
    return run_as(connect(config, prepare), job)


def run_as(ranks: Any, job: Callable[[Ranks], Result]) -> Result:
    """Runs a job as one of the connected ranks, which part when all have done it; raises what `run` does."""
    show_rank(ranks.rank)
    if not ranks.connected:
        return job(ranks)
    from cosmictagger_tf.training.distributed.horovod_ranks import run_connected

    return run_connected(ranks, job)


def connect(config: RanksConfig | None = None, prepare: Prepare = pin_gpu) -> Ranks:
    """The Ranks of this process, Horovod initialised where there are several; for scripts with their own model.fit.

    Args:
        config: whether a launcher is expected; by default whatever the case is.
        prepare: see run; by default the process gets its GPU and nothing else.

    Raises:
        UserError: as `run` does.
    """
    launch = launched()
    if not is_distributed(config or RanksConfig(), launch):
        prepare(None)
        return Ranks()
    from cosmictagger_tf.training.distributed.horovod_ranks import connect_horovod

    return connect_horovod(launch, prepare)


def is_distributed(config: RanksConfig, launch: Launch) -> bool:
    """Whether this process is one of several ranks; raises ConfigError where --distributed contradicts the launcher."""
    if config.distributed == "false" and launch.many:
        raise ConfigError(
            f"--distributed=false: {launch.launcher} started {launch.size} ranks, which would all do the same; start "
            "the command without it"
        )
    if config.distributed == "true" and not launch.launcher:
        raise ConfigError(
            "--distributed=true: start the command with a launcher, as in `horovodrun -np 2 python -m ...` or "
            "`mpirun -np 2 python -m ...`"
        )
    return launch.many or config.distributed == "true"
