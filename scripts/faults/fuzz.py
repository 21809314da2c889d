"""Reads thousands of randomly damaged larcv3 files: each must be read or refused in one line.

python -m scripts.faults.fuzz --cases=5000 [--file=sbnd_sample.h5]

The files are read in a child process, whose address space is limited and which a watchdog ends where a file takes too
long. It fails where it dies, hangs, runs out of memory, or raises anything but a DataError of one line.
The same seed damages in the same way: `--first=N --cases=1` repeats case N.
"""

import argparse
import faulthandler
import multiprocessing
import resource
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from cosmictagger_tf.config import DataConfig, TruthConfig
from cosmictagger_tf.data.dataset import open_reader
from cosmictagger_tf.data.larcv_products import ProductFile
from cosmictagger_tf.errors import DataError
from tests.data.truth_files import add_clusters, truth_file

# Address space that reading a damaged file may take beside what the process has already.
MEMORY = 1 << 30
# Seconds after which a case hangs; a sound one takes some hundredths.
PATIENCE = 60.0
# HDF5's own structures begin with these words, and where a file describes itself damage does most.
SIGNATURES = (b"\x89HDF", b"TREE", b"SNOD", b"HEAP", b"GCOL")
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, 1 << 62, (1 << 64) - 1)


def damaged(data: bytes, rng: np.random.Generator, places: list[int]) -> bytes:
    """The bytes of a file with one to four pieces of damage.

    Args:
        data: of the sound file.
        rng: decides.
        places: offsets of HDF5's structures, near which most of the damage is done.
    """
    new = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        near = rng.random() < 0.7
        where = int(rng.choice(places) + rng.integers(0, 600)) if near else int(rng.integers(len(new)))
        where = min(where, len(new) - 1)
        kind = rng.integers(8)
        if kind <= 1:
            new[where] ^= 1 << int(rng.integers(8))
        elif kind <= 3:
            width = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice(np.array(NUMBERS, object))) & ((1 << 8 * width) - 1)
            new[where : where + width] = number.to_bytes(width, "little")
        elif kind == 4:
            length = int(rng.integers(1, 64))
            new[where : where + length] = rng.bytes(length)
        elif kind == 5:
            source, length = int(rng.integers(len(new))), int(rng.integers(8, 512))
            new[where : where + length] = new[source : source + length]
        elif kind == 6:
            address = int(rng.choice(places))
            new[where : where + 8] = address.to_bytes(8, "little")
        elif rng.random() < 0.3:
            del new[max(1, where) :]
    return bytes(new)


def structures(data: bytes) -> list[int]:
    """Where HDF5's structures begin in a file, the object headers beside them left out."""
    places = []
    for word in SIGNATURES:
        at = data.find(word)
        while at >= 0:
            places.append(at)
            at = data.find(word, at + 1)
    return sorted(places)


def read(path: Path) -> str:
    """Reads a file whole; returns "read" or "refused", or what went wrong."""
    try:
        reader = open_reader(DataConfig(file=(str(path),)), TruthConfig())
        try:
            for entry in range(min(len(reader), 8)):
                event = reader.read(entry)
                for plane in (*event.image, *(event.label or ())):
                    assert np.isfinite(plane.values).all() and len(plane) <= event.shape.pixels
                for place in event.truth.vertices if event.truth.vertices is not None else ():
                    assert not (place < 0).any() and not (place >= (event.shape.height, event.shape.width)).any()
        finally:
            reader.close()
        # What `predict` copies.
        products = ProductFile(str(path))
        try:
            for entry in range(2):
                products.read(entry)
        finally:
            products.close()
    except DataError as error:
        return "refused" if "\n" not in str(error) else f"more than one line: {error!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def worker(sources: list[bytes], seed: int, cases: range, folder: str, pipe):
    """Reads cases one after the other; sends (case, None, 0) before each, (case, outcome, bytes of memory) after it."""
    # What kills a case is reported by the campaign.
    faulthandler.disable()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    places = [structures(data) for data in sources]
    path = Path(folder) / "case.h5"
    for case in cases:
        rng = np.random.default_rng([seed, case])
        # The first source is small: most of the cases are quick.
        which = 0 if len(sources) == 1 or case % 8 else 1
        path.write_bytes(damaged(sources[which], rng, places[which]))
        pipe.send((case, None, 0))
        outcome = read(path)
        pipe.send((case, outcome, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)))
    pipe.send((cases.stop, "done", 0))


def campaign(sources: list[bytes], cases: range, seed: int) -> tuple[Counter, list[str], int]:
    """Runs the cases.

    Returns:
        how many ended how; the failures, a line each; the most memory, in bytes, that a child held beyond what it
        began with.
    """
    outcomes: Counter = Counter()
    failures: list[str] = []
    memory = 0
    context = multiprocessing.get_context("fork")
    folder = tempfile.mkdtemp(prefix="fuzz")
    todo = cases
    try:
        while todo:
            here, there = context.Pipe(duplex=False)
            child = context.Process(target=worker, args=(sources, seed, todo, folder, there))
            child.start()
            there.close()
            current, ended = todo.start, None
            while True:
                try:
                    if not here.poll(PATIENCE):
                        ended = "hangs"
                        break
                    case, outcome, held = here.recv()
                except EOFError:
                    break
                current, memory = case, max(memory, held)
                if outcome == "done":
                    ended = "done"
                    break
                if outcome is None:
                    continue
                outcomes[outcome if outcome in ("read", "refused") else "failed"] += 1
                if outcome not in ("read", "refused"):
                    failures.append(f"case {case}: {outcome}")
                    print(failures[-1], flush=True)
            child.kill()
            child.join()
            if ended == "done":
                break
            kind = ended or f"the process dies (status {child.exitcode})"
            outcomes["hung" if ended else "crashed"] += 1
            failures.append(f"case {current}: {kind}")
            print(failures[-1], flush=True)
            todo = range(current + 1, cases.stop)
    finally:
        shutil.rmtree(folder)
    return outcomes, failures, memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", type=Path, help="a real larcv3 file, damaged in every eighth case")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sources = [add_clusters(truth_file(Path(folder) / "sound.h5")).read_bytes()]
    if options.file:
        sources.append(options.file.read_bytes())
    cases = range(options.first, options.first + options.cases)
    outcomes, failures, memory = campaign(sources, cases, options.seed)
    counts = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    print(f"{len(cases)} damaged files: {counts}; at most {memory / 1e6:.0f} MB more held than before")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
