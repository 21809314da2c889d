"""Trains on disks that are full, or may not be written: one clear line, nothing destroyed, resumed once there is room.

python -m scripts.faults.disk

The disk is a tmpfs of 4 MB in a mount namespace of this command's own (`unshare`, from util-linux). A file takes all
but some of it, from nothing to several checkpoints, so that the disk is full at different points of a run. Prints a
table, and fails where a run is not equal, in the end, to one that always had room.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cosmictagger_tf.training.checkpoints.store import CheckpointStore
from scripts.faults.kills import EVERYTHING, SMALL, STEPS, Trainer, import_trainer
from scripts.faults.outcome import differences, outcome
from tests.data.sound_files import sound_file

DISK = 4 << 20
# Bytes left for a run, in units of a checkpoint.
ROOM = (0.0, 0.2, 0.6, 1.0, 1.4, 1.8, 2.2, 2.6, 3.0)


def in_namespace(arguments: list[str]) -> int:
    """Runs this command again where it may mount disks."""
    words = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m", "scripts.faults.disk", *arguments]
    return subprocess.run([*words, "--inside"]).returncode


def lines_of(log: Path) -> list[str]:
    """The last lines of a training."""
    return [line for line in log.read_text().splitlines() if line.startswith("cosmictagger_tf.") or "Error" in line]


def intact(run: Path) -> list[int]:
    """The steps of a run's checkpoints; raises where one is not intact."""
    store = CheckpointStore(run / "checkpoints")
    return [store.verify(step)["step"] for step in store.steps()]


def fill(disk: Path, leave: int) -> Path:
    """Takes all of a disk but `leave` bytes."""
    ballast = disk / "ballast"
    with open(ballast, "wb") as file:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
        file.write(bytes(max(0, free - leave)))
    return ballast


def campaign(folder: Path, rooms: tuple[float, ...]) -> list[str]:
    """Runs it; returns the lines of the table. Raises where a run behaves otherwise than it must."""
    data, aux = sound_file(folder / "train.h5", entries=5), sound_file(folder / "aux.h5")
    flags = [*SMALL, *EVERYTHING, "--keep_checkpoints=4", f"--file={data}", f"--aux_file={aux}"]
    straight = [*flags, f"--output_dir={folder}", "--run_id=straight"]
    assert Trainer(straight, folder / "log").wait() == 0, (folder / "log").read_text()
    expected = outcome(folder / "straight", STEPS)
    size = sum(file.stat().st_size for file in (folder / f"straight/checkpoints/step_{STEPS:08d}").iterdir())
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", disk], check=True)
    table = ["| disk | message | checkpoints that stay | afterwards |", "|---|---|---|---|"]
    try:
        for number, room in enumerate([*rooms, None]):
            log, where = folder / f"{number}.log", [*flags, f"--output_dir={disk}"]
            shutil.rmtree(disk / "test", ignore_errors=True)
            if room is None:
                # Some steps, and then the disk may not be written any more.
                assert Trainer([*where, "--iterations=5", "--lr_schedule=flat"], log).wait() == 0
                shutil.copytree(disk / "test", folder / "before")
                subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
                status, kept = Trainer(where, log).wait(), [4, 5]
                subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
                same = differences(outcome(folder / "before", 5), outcome(disk / "test", 5))
                assert not same, same
            else:
                ballast = fill(disk, int(room * size))
                status, kept = Trainer(where, log).wait(), None
                ballast.unlink()
            lines, left = lines_of(log), intact(disk / "test")
            assert status == 2 and len(lines) == 1, (room, status, log.read_text())
            assert kept is None or set(kept) <= set(left), left
            name = "may not be written" if room is None else f"room for {room:g} checkpoints"
            if room is not None:
                again = Trainer(where, log).wait()
                wrong = differences(expected, outcome(disk / "test", STEPS)) if again == 0 else ["it does not resume"]
                assert not wrong, (room, wrong, log.read_text())
            after = "resumed, equal" if room is not None else "nothing has changed"
            shown = lines[0].replace(str(disk), "/disk")
            table.append(f"| {name} | `{shown}` | {', '.join(map(str, left)) or 'none yet'} | {after} |")
    finally:
        with contextlib.suppress(OSError):
            subprocess.run(["umount", disk], check=False)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", type=float, nargs="*", default=list(ROOM), help="in checkpoints")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        return in_namespace(sys.argv[1:])
    import_trainer()
    with tempfile.TemporaryDirectory(prefix="disk") as folder:
        print("\n".join(campaign(Path(folder), tuple(options.room))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
