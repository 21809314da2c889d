"""The ranks that Horovod connects, on TensorFlow. The only module that imports Horovod."""

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from cosmictagger_tf.console import show_rank
from cosmictagger_tf.errors import ConfigError, MissingPackageError, RankLost, StoppedElsewhere, UserError
from cosmictagger_tf.launch import Launch, launched
from cosmictagger_tf.training.distributed.heartbeat import LIMIT, Heartbeat
from cosmictagger_tf.training.distributed.ranks import Ranks

log = logging.getLogger(__name__)

Result = TypeVar("Result")
INSTALL = "scripts/install_horovod"
# Seconds after which a step that some ranks wait in and others have not reached ends the job. Horovod's own default
# is to wait for ever; compiling a step can take minutes on one rank alone.
STALL_LIMIT = "600"
# Milliseconds between two looks of Horovod's own thread at what waits to be exchanged. At its default of 1 that thread
# takes 14 % of a core from the network, where that core computes it (measured by thread, Gloo); a GPU loses nothing.
CPU_CYCLE = "10"
# Seconds after which rank 0 reports that it waits for ranks that have not started.
LATE = 15.0
# What an operation of Horovod's raises when another rank is gone; and how the text names the operation: an eager one at
# its end, one of a compiled step by its node or where it was defined; or Horovod's own sentence.
BROKEN_EXCHANGE = (tf.errors.UnknownError, tf.errors.AbortedError, tf.errors.FailedPreconditionError)
HOROVOD_OPERATION = re.compile(
    r"\[Op:Horovod\w+\]|\bnode '?([^\s'}]*/)?Horovod\w+|File \"<string>\", line \d+, in horovod_\w+"
    r"|(^|: *)Horovod has been shut down\.",
    re.MULTILINE,
)
# The longest that a rank which lost its peers looks for the one to name.
SEARCH = 3.0


class HorovodRanks(Ranks):
    """The ranks that Horovod connects; Horovod is initialised."""

    connected = True

    def __init__(self, hvd, state=None):
        self.hvd, self.state, self.elastic = hvd, state, state is not None
        self.rank, self.size, self.local_rank = hvd.rank(), hvd.size(), hvd.local_rank()
        self.explaining = False
        self.heartbeat = None
        if not self.elastic and self.size > 1:
            self.heartbeat = Heartbeat(self.rank, self.size, hvd.broadcast_object, self._hanging)

    def mean(self, tensor):
        return self.hvd.allreduce(tensor, op=self.hvd.Average)

    def sum(self, arrays):
        summed = [
            self.hvd.allreduce(tf.convert_to_tensor(a), op=self.hvd.Sum, name=f"sum{i}") for i, a in enumerate(arrays)
        ]
        return [s.numpy() for s in summed]

    def average(self, variables):
        if not variables:
            return
        # One exchange; in float64, where the mean of what is equal, as frozen weights are, is just that.
        arrays = [v.numpy() for v in variables]
        (total,) = self.sum([np.concatenate([a.ravel().astype(np.float64) for a in arrays])])
        parts = np.split(total / self.size, np.cumsum([a.size for a in arrays])[:-1])
        for variable, part, array in zip(variables, parts, arrays, strict=True):
            variable.assign(part.reshape(array.shape).astype(array.dtype))

    def broadcast(self, variables):
        self.hvd.broadcast_variables([v.value for v in variables], root_rank=0)

    def _from_all(self, thing):
        try:
            # Of one name: Horovod's own goes by the thing's type, and waits for ever where ranks have other types.
            return self.hvd.allgather_object(thing, name="from_all")
        except Exception:
            self.stopped = True
            raise

    def changed(self):
        return self.elastic and not self.state._host_messages.empty()

    def begin_again(self):
        self.state.check_host_updates()

    def explain(self) -> UserError:
        """What to report on this rank after the connection to the others broke."""
        self.explaining = True
        watched = range(1, self.size) if self.rank == 0 else [0]
        heartbeat = self.heartbeat if self.rank in (0, 1) else None
        until = time.monotonic() + SEARCH
        while heartbeat and time.monotonic() < until:
            if heartbeat.failed:
                return StoppedElsewhere()
            time.sleep(0.1)
        silent = [r for r in heartbeat.silent(SEARCH - 0.5) if r in watched] if heartbeat else []
        if silent:
            return RankLost(f"rank {', '.join(map(str, silent))} is gone (killed, or its node failed): {RESUME}")
        return RankLost(f"the connection between the ranks broke: {RESUME}") if self.rank == 0 else StoppedElsewhere()

    def _hanging(self, rank: int):
        # The main thread may wait for ever inside the communication library: this one ends the process.
        if self.explaining:
            return
        if self.rank in (0, 1):
            log.warning(f"cosmictagger_tf: rank {rank} has not answered for {LIMIT:.0f} s: {RESUME}")
        os._exit(RankLost.exit_status)

    def report_failed(self) -> bool:
        """Sends the others that this rank stops; returns whether rank 0 does too, and reports why."""
        return self.heartbeat is not None and self.heartbeat.report_failed()

    def leave(self):
        """Ends the connection, all ranks together."""
        self.gather(None)
        if self.heartbeat:
            self.heartbeat.stop()
        self.hvd.shutdown()


RESUME = (
    "all ranks stop; give the same command again, with any number of ranks (train resumes from its last checkpoint)"
)


def run_connected(ranks: HorovodRanks, job: Callable[[Ranks], Result]) -> Result:
    """What jobs.run_as does with ranks that are connected."""
    try:
        result = job(ranks)
    except StoppedElsewhere:
        raise
    except Exception as error:
        reason = ranks.explain() if is_lost(error) else error
        if reason is error and ranks.report_failed() and isinstance(error, UserError):
            raise StoppedElsewhere from None
        if not isinstance(reason, UserError):
            raise
        reason.settled = True
        raise reason from None
    ranks.leave()
    return result


def connect_horovod(launch: Launch, prepare: Callable[[int | None], None]) -> HorovodRanks:
    """What jobs.connect does where there are several ranks."""
    hvd = import_horovod(launch)
    os.environ.setdefault("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", STALL_LIMIT)
    _initialise(hvd)
    if hvd.size() != launch.size:
        raise ConfigError(
            f"{launch.launcher} started {launch.size} ranks, but Horovod sees {hvd.size()}: it was built without what "
            f"this launcher needs (MPI for mpirun, Gloo for horovodrun --gloo): run `{INSTALL} --rebuild`"
        )
    error: Exception | None = None
    try:
        prepare(hvd.local_rank())
    except UserError as raised:
        error = raised
    ranks = HorovodRanks(hvd)
    with ranks.agreed():
        if error:
            raise error
    return ranks


def import_horovod(launch: Launch):
    """horovod.tensorflow; raises MissingPackageError, on rank 0 alone, where it is not there or does not load."""
    try:
        import horovod.tensorflow as hvd
        import horovod.tensorflow.elastic  # noqa: F401 - run needs it as hvd.elastic

        hvd.mpi_built()
    except (ImportError, tf.errors.NotFoundError, OSError) as error:
        if launch.rank:
            raise StoppedElsewhere from None
        purpose = f"one training with the {launch.size} ranks of {launch.launcher}"
        if isinstance(error, ModuleNotFoundError):
            raise MissingPackageError("horovod", purpose, INSTALL, error) from None
        raise ConfigError(
            f"the installed Horovod does not work with this TensorFlow: run `{INSTALL} --rebuild`"
        ) from None
    return hvd


def _initialise(hvd):
    if not tf.config.list_physical_devices("GPU"):
        os.environ.setdefault("HOROVOD_CYCLE_TIME", CPU_CYCLE)
    launch = launched()
    line = f"cosmictagger_tf: rank 0 waits for all {launch.size} ranks of {launch.launcher} to start"
    waiting = threading.Timer(LATE, lambda: log.warning(line))
    waiting.daemon = True
    if launch.rank == 0:
        waiting.start()
    try:
        hvd.init()
    finally:
        waiting.cancel()


def is_lost(error: BaseException) -> bool:
    """Whether an exception means that the connection to the other ranks broke: by its type, or the operation it is of.

    Horovod's operations raise TensorFlow's errors, which name the operation; a path in their text means nothing.
    """
    if type(error).__name__ == "HorovodInternalError":
        return True
    return isinstance(error, BROKEN_EXCHANGE) and HOROVOD_OPERATION.search(str(error)) is not None


def run_elastic(prepare: Callable[[int | None], None], job: Callable[[Ranks], Result]) -> Result:
    """What jobs.run does where ranks come and go."""
    hvd = import_horovod(launched())
    _initialise(hvd)
    prepare(hvd.local_rank())
    from horovod.common.elastic import State
    from horovod.common.exceptions import HorovodInternalError

    class Restarting(State):
        """Holds nothing: the job begins again at its last checkpoint."""

        def save(self): ...

        def restore(self): ...

        def sync(self): ...

    def attempt(state):
        keras.backend.clear_session()
        try:
            ranks = HorovodRanks(hvd, state)
            show_rank(ranks.rank)
            return job(ranks)
        except Exception as error:
            if is_lost(error):
                raise HorovodInternalError(str(error)) from None
            raise

    return hvd.elastic.run(attempt)(Restarting(hvd.broadcast_object, hvd.rank))
