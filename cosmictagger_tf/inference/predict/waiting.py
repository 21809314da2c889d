"""Which ranks of a prediction are running, as seen in the folder of its parts, which is all that they share.

Clocks of different nodes are never compared: rank 0 looks whether a rank's file changes, by its own clock.
"""

import contextlib
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator

from cosmictagger_tf.errors import ConfigError, RankLost
from cosmictagger_tf.inference.predict.scores_file import Part, WorkFolder
from cosmictagger_tf.training.distributed.ranks import Ranks

log = logging.getLogger(__name__)

# Seconds between two signs of life of a rank, and of silence after which rank 0 waits for it no more.
INTERVAL, LIMIT = 5.0, 180.0
# Seconds from one line of whom rank 0 waits for to the next; the first comes sooner.
PAUSE, FIRST_PAUSE = 20.0, 3.0
# Seconds until what another node has written is seen on a network file system.
LAG = 30.0


@contextlib.contextmanager
def signs_of_life(work: WorkFolder, ranks: Ranks) -> Iterator[None]:
    """Within it each rank rewrites its file, again and again, from a thread.

    Args:
        work: the folder of the parts.
        ranks: of the job, still connected.

    Raises:
        ConfigError: the ranks do not see one folder.
    """
    if ranks.size == 1:
        yield
        return
    token, own, stopping = secrets.token_hex(8), _file(work, ranks.rank), threading.Event()

    def live():
        for count in itertools.count():
            # A disk that is full, or the folder removed: the others see nothing new.
            with contextlib.suppress(OSError):
                own.write_text(f"{token} {count}")
            if stopping.wait(INTERVAL):
                return

    def watch():
        before: dict[int, str] = {}
        named: set[int] = set()
        while not stopping.wait(PAUSE):
            now = {rank: _sign(work, rank) for rank in range(1, ranks.size)}
            still = {rank for rank, sign in now.items() if sign and sign == before.get(rank)}
            for rank in sorted(still - named):
                log.warning(f"rank {rank} has given no sign of life for {PAUSE:.0f} s")
            before, named = now, still

    threads = [threading.Thread(target=job, daemon=True) for job in (live, *([] if ranks.rank else [watch]))]
    for thread in threads:
        thread.start()
    try:
        with ranks.agreed():
            tokens = ranks.gather(token)
            if ranks.rank == 0:
                _check_shared(work, tokens)
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(INTERVAL)
        with contextlib.suppress(OSError):
            own.unlink()


def wait_for_parts(
    work: WorkFolder,
    parts: list[Part],
    ranks: int,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
):
    """Returns when every part exists, the other ranks' included.

    Args:
        work: the folder of the parts.
        parts: all of them; rank r has those numbered r, r + ranks, ...
        ranks: how many there are.
        clock, sleep: the time, in seconds.

    Raises:
        RankLost: one of them has given no sign of life for LIMIT seconds.
    """
    last: dict[int, tuple[str, float]] = {}
    due = clock() + FIRST_PAUSE
    missing = parts
    while missing := [part for part in missing if not work.exists(part)]:
        awaited = sorted({part.number % ranks for part in missing})
        names = f"rank{'s' if len(awaited) > 1 else ''} {', '.join(map(str, awaited))}"
        for rank in awaited:
            sign, now = _sign(work, rank), clock()
            if rank not in last or last[rank][0] != sign:
                last[rank] = sign, now
            elif now - last[rank][1] > LIMIT:
                raise RankLost(
                    f"rank {rank} has given no sign of life for {LIMIT:.0f} s, and {len(missing)} of {len(parts)} "
                    f"parts are missing ({names}): the same command, with any number of ranks, resumes from the others"
                )
        if clock() >= due:
            due = clock() + PAUSE
            log.warning(f"waiting for {names}: {len(missing)} of {len(parts)} parts are missing")
        sleep(0.2)


def _check_shared(work: WorkFolder, tokens: list[str]):
    until = time.monotonic() + LAG
    while unseen := [rank for rank, token in enumerate(tokens) if not _sign(work, rank).startswith(token)]:
        if time.monotonic() > until:
            raise ConfigError(
                f"--output={work.output}: rank {', '.join(map(str, unseen))} does not share its folder with rank 0: "
                "give an --output on a disk that all nodes have"
            )
        time.sleep(0.2)


def _sign(work: WorkFolder, rank: int) -> str:
    try:
        return _file(work, rank).read_text()
    except OSError:
        return ""


def _file(work: WorkFolder, rank: int):
    return work.path / f"rank_{rank}.alive"
