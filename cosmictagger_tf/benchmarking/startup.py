"""What whole commands take from their start to their first result, part by part."""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from cosmictagger_tf.errors import ConfigError

log = logging.getLogger(__name__)

CHECKOUT = Path(__file__).resolve().parents[2]
# What is run, by what it shows; {folder} is for what is written.
TRAINED, RUN = "--weights=sparse_small", "--iterations=1 --no_summary_images --output_dir={folder}"
COMMANDS = {
    "predict one event": f"predict {TRAINED} --max_entries=1 --output={{folder}}/scores.h5",
    "train, dense, one step": f"train --flagfile=flags/quick.flags {RUN} --run_id=quick",
    "train, sparse, one step": f"train --flagfile=flags/sparse_small.flags {RUN} --run_id=sparse",
    "export": f"export {TRAINED} --export_dir={{folder}}/model",
}


@dataclass(frozen=True)
class Startup:
    """What a command took.

    Attributes:
        cpu_seconds: of all threads of the process, in user and system mode.
        seconds: of the clock.
        memory: the most that it held, bytes.
        parts: CPU seconds until a line of its output was there, and the line.
    """

    cpu_seconds: float
    seconds: float
    memory: int
    parts: tuple[tuple[float, str], ...]


def measure_startup(file: str, against: str = "") -> dict:
    """Runs each command once, and with a second checkout alternately with that one's; logs as it goes.

    Args:
        file: the events' file.
        against: the folder of another checkout, whose code is compared; "" = none.

    Returns:
        What json can write: by command, the Startup of `here`, that of `against`, and the ratio of their CPU seconds.

    Raises:
        ConfigError: this is no checkout, or `against` is none, or a command fails.
    """
    checkouts = {"here": CHECKOUT} | ({"against": Path(against).resolve()} if against else {})
    for name, checkout in checkouts.items():
        if not (checkout / "flags" / "quick.flags").exists():
            option = "--startup" if name == "here" else f"--against={against}"
            raise ConfigError(f"{option}: {checkout} is no checkout of this package: it has no flags/quick.flags")
    results: dict[str, dict] = {}
    for name, command in COMMANDS.items():
        row = {which: _run(checkout, command, file) for which, checkout in checkouts.items()}
        results[name] = {which: asdict(startup) for which, startup in row.items()}
        for which, startup in row.items():
            log.info("\n".join(_lines(name if len(row) == 1 else f"{name}, {checkouts[which]}", startup)))
        if against:
            results[name]["ratio"] = row["here"].cpu_seconds / row["against"].cpu_seconds
            log.info(f"{name}: {results[name]['ratio']:.2f} of the other's CPU seconds")
    return results


def _lines(name: str, startup: Startup) -> Iterator[str]:
    yield (
        f"{name}: {startup.cpu_seconds:.1f} CPU s, {startup.seconds:.1f} s, at most {startup.memory / 2**20:,.0f} MiB"
    )
    yield from (f"    {seconds:6.1f} CPU s until: {line[:90]}" for seconds, line in startup.parts)


def _run(checkout: Path, command: str, file: str) -> Startup:
    with tempfile.TemporaryDirectory(prefix="startup") as folder:
        words = command.format(folder=folder).split()
        arguments = [sys.executable, "-m", f"cosmictagger_tf.{words[0]}", *words[1:]]
        arguments += [f"--file={Path(file).resolve()}"] if words[0] != "export" else []
        # Its own code, wherever the package is installed from.
        environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONUNBUFFERED": "1"}
        began = time.perf_counter()
        process = subprocess.Popen(
            arguments,
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        parts = tuple((_cpu_seconds(process.pid), line.rstrip()) for line in process.stdout if line.strip())
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    if status:
        raise ConfigError(f"--startup: `{command}` failed in {checkout}: {parts[-1][1] if parts else status}")
    scale = 1 if sys.platform == "darwin" else 1024
    return Startup(usage.ru_utime + usage.ru_stime, seconds, usage.ru_maxrss * scale, parts)


def _cpu_seconds(pid: int) -> float:
    """What a running process has used so far; nan where the system has no /proc."""
    try:
        # After the name, which may have blanks: utime and stime are fields 14 and 15 of proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
