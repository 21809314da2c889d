"""Kills training runs with SIGKILL at random instants, resumes each until it is done, compares with one left alone.

python -m scripts.faults.kills --runs=60 [--network=sparse] [--heads=sites]

A third of the runs is killed while it writes a checkpoint, a third at any instant after the first one, and a third at
any instant from the start of the process on; every fourth is killed twice. What must be the same, bit for bit: weights,
optimizer state, moving average, metrics, history.csv, best.json, and which checkpoints are kept. Batch statistics,
accumulation, an average of the weights, validation and a bad event that is skipped are switched on. Prints a table, and
exits with 1 where a run differs.

The processes are forked from one that has imported TensorFlow and done nothing with it: importing it is most of
the time of so short a run.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scripts.faults.outcome import differences, outcome
from tests.data.bad_files import FAULTS
from tests.data.sound_files import sound_file
from tests.data.truth_files import truth_file

STEPS = 12
SMALL = [
    "--n_initial_filters=2",
    "--network_depth=1",
    "--blocks_per_layer=0",
    "--blocks_deepest_layer=0",
    "--blocks_final=1",
    "--bottleneck_deepest=2",
    "--downsample=0",
    "--noxla",
    "--deterministic",
    "--no_summary_images",
]
EVERYTHING = [
    f"--iterations={STEPS}",
    "--minibatch_size=2",
    "--seed=3",
    "--checkpoint_iteration=1",
    "--keep_checkpoints=2",
    "--logging_iteration=5",
    "--summary_iteration=5",
    "--gradient_accumulation=3",
    "--ema_momentum=0.5",
    "--learning_rate=0.01",
    "--lr_schedule=one_cycle",
    "--aux_iterations=4",
    "--skip_bad_events=2",
]
HEADS = [
    "--event_head",
    "--event_filters=2",
    "--event_blocks=1",
    "--vertex_head",
    "--vertex_filters=2",
    "--vertex_blocks=1",
    "--vertex_depth=0",
    "--noevent_detach",
]


class Trainer:
    """A training in another process, that may be killed.

    Args:
        flags: of the command `train`.
        log: takes what it prints.
    """

    def __init__(self, flags: list[str], log: Path):
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become_trainer(flags, log)

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status, minus the signal's number where one ended it; None where it still runs after `seconds`."""
        while True:
            pid, status = os.waitpid(self.pid, 0 if seconds is None else os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() - self.began > (seconds or 0):
                return None
            time.sleep(0.001)

    def wait_for(self, there) -> int | None:
        """Waits until `there()` is true; the exit status where it ends before."""
        while not there():
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.0005)
        return None

    def hold(self) -> int | None:
        """Makes it stand still; the exit status where it ended before."""
        os.kill(self.pid, signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        return None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)

    def go_on(self):
        """Lets it continue."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        """Kills it, and waits for its end."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _become_trainer(flags, log):
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        from cosmictagger_tf import train
        from cosmictagger_tf.cli.command import run_command

        status = run_command("train", train.main, train.GROUPS, "", "", flags, takes="chosen")
        sys.stdout.flush()
    finally:
        os._exit(status)


@dataclass
class Tally:
    """What happened to the runs of one kind.

    Attributes:
        runs, kills: how many.
        where: kills by what the process was doing.
        equal: runs that ended as the one left alone did.
        problems: a line for each of the others.
    """

    runs: int = 0
    kills: int = 0
    where: Counter = field(default_factory=Counter)
    equal: int = 0
    problems: list[str] = field(default_factory=list)


def writing(checkpoints: Path, pid: int) -> bool:
    """Whether a process is writing in the folder of checkpoints, or was when it was killed."""
    return any(checkpoints.glob(f".*.{pid}@*.part"))


def saved(checkpoints: Path) -> int:
    """The newest step that is saved, 0 without."""
    return max((int(path.name[5:]) for path in checkpoints.glob("step_????????")), default=0)


KINDS = ("in a checkpoint's write", "after a checkpoint", "at any instant")


def kill_somewhere(trainer: Trainer, checkpoints: Path, kind: str, first: float, last: float, rng) -> str | None:
    """Kills a training at a random instant; returns what it was doing, None where it was done before.

    Args:
        kind: of KINDS.
        first, last: seconds that a training takes to its first checkpoint, and in all.
    """
    before = saved(checkpoints)
    if kind == KINDS[0]:
        status = catch_writing(trainer, checkpoints, int(rng.integers(before, (before + STEPS) // 2 + 1)), rng)
    elif kind == KINDS[1]:
        status = trainer.wait_for(lambda: saved(checkpoints) > before)
        if status is None:
            status = trainer.wait(time.monotonic() - trainer.began + float(rng.uniform(0, last - first)))
    else:
        status = trainer.wait(float(rng.uniform(0, last)))
    if status is not None:
        return None
    trainer.kill()
    if writing(checkpoints, trainer.pid):
        return "writing a checkpoint"
    after = saved(checkpoints)
    return "before the first step was saved" if after == before else "between two checkpoints"


def catch_writing(trainer: Trainer, checkpoints: Path, after: int, rng) -> int | None:
    """Holds a training still at a random instant of one of its writes; its exit status where it ends before.

    Args:
        after: this many steps must be saved before.
    """
    longest = 0.03
    while True:
        status = trainer.wait_for(lambda: saved(checkpoints) >= after and writing(checkpoints, trainer.pid))
        if status is not None:
            return status
        time.sleep(float(rng.uniform(0, longest)))
        status = trainer.hold()
        if status is not None or writing(checkpoints, trainer.pid):
            return status
        # It was too quick: earlier in the next one.
        trainer.go_on()
        longest /= 2


def campaign(runs: int, options: list[str], seed: int, folder: Path) -> dict[str, Tally]:
    """Runs the campaign in a folder; returns what happened, by kind of kill.

    Args:
        runs: how many.
        options: flags of the training beside SMALL and EVERYTHING.
        seed: of the instants.
        folder: of data, runs and logs.
    """
    if HEADS[0] in options:
        data, aux = truth_file(folder / "train.h5"), truth_file(folder / "aux.h5")
    else:
        data, aux = sound_file(folder / "train.h5", entries=5), sound_file(folder / "aux.h5")
    FAULTS["NaN"][0](data)
    flags = [*SMALL, *EVERYTHING, f"--file={data}", f"--aux_file={aux}", f"--output_dir={folder}"]
    flags += options
    straight = Trainer([*flags, "--run_id=straight"], folder / "straight.log")
    status = straight.wait_for(lambda: saved(folder / "straight/checkpoints") > 0)
    first = time.monotonic() - straight.began
    if status is not None or straight.wait() != 0:
        raise RuntimeError((folder / "straight.log").read_text())
    last = time.monotonic() - straight.began
    expected = outcome(folder / "straight", STEPS)
    tallies = {kind: Tally() for kind in KINDS}
    for number in range(runs):
        rng = np.random.default_rng([seed, number])
        kind = KINDS[number % 3]
        tally = tallies[kind]
        run, log = folder / f"run{number}", folder / f"run{number}.log"
        tally.runs += 1
        for _ in range(2 if number % 4 == 0 else 1):
            trainer = Trainer([*flags, f"--run_id={run.name}"], log)
            where = kill_somewhere(trainer, run / "checkpoints", kind, first, last, rng)
            tally.kills += where is not None
            tally.where[where or "done before"] += 1
        status = Trainer([*flags, f"--run_id={run.name}"], log).wait()
        wrong = differences(expected, outcome(run, STEPS)) if status == 0 else [f"exit status {status}"]
        if wrong:
            tally.problems.append(f"run {number}: {', '.join(wrong[:5])}; see {log}")
        else:
            tally.equal += 1
        print(f"run {number}: {where or 'done before'}: {tally.problems[-1] if wrong else 'equal'}", flush=True)
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """The tallies as the lines of a table."""
    places = ["before the first step was saved", "between two checkpoints", "writing a checkpoint", "done before"]
    lines = [
        "| killed | runs | kills | " + " | ".join(places) + " | equal at the end |",
        "|---" * (len(places) + 4) + "|",
    ]
    for kind, tally in tallies.items():
        counts = " | ".join(str(tally.where[place]) for place in places)
        lines.append(f"| {kind} | {tally.runs} | {tally.kills} | {counts} | {tally.equal} of {tally.runs} |")
    return "\n".join(lines)


def import_trainer():
    """Imports what a training needs, without a thread or a device of TensorFlow's coming to life."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import cosmictagger_tf.training.trainer  # noqa: F401


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--network", choices=("2D", "3D", "sparse"), default="2D")
    parser.add_argument("--precision", choices=("float32", "mixed", "bfloat16"), default="float32")
    parser.add_argument("--heads", choices=("none", "reference", "sites"), default="none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the runs here; default: a folder that is removed")
    options = parser.parse_args()
    import_trainer()
    with tempfile.TemporaryDirectory(prefix="kills") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = [f"--conv_mode={options.network}", f"--precision={options.precision}"]
        chosen += [*HEADS, f"--head_design={options.heads}"] if options.heads != "none" else []
        tallies = campaign(options.runs, chosen, options.seed, folder)
    print(table(tallies))
    return 1 if any(tally.problems for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
