"""Trains the quick job in every precision from several seeds and compares the losses. Run by hand, not by pytest.

python -m tests.training.measure_precision sbnd_sample.h5 --steps=300 --seeds=3 --folder=precisions
python -m tests.training.measure_precision sbnd_sample.h5 --steps=200 --downsample=4 --logging_iteration=1

Options that are not its own go to `cosmictagger_tf.train`.
"""

import argparse
import csv
import statistics
import subprocess
import sys
from pathlib import Path

OWN = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
OWN.add_argument("file")
OWN.add_argument("--flagfile", default="flags/quick.flags")
OWN.add_argument("--steps", type=int, default=300)
OWN.add_argument("--last", type=int, default=50, help="lines of history.csv at the end whose losses are averaged")
OWN.add_argument("--seeds", type=int, default=3)
OWN.add_argument("--folder", default="precisions", help="for the runs; finished ones are kept")
PRECISIONS = ("float32", "bfloat16", "mixed")


def main() -> None:
    """Prints a line a seed, and the means."""
    (own, flags), columns = OWN.parse_known_args(), {precision: [] for precision in PRECISIONS}
    for seed in range(own.seeds):
        for precision, losses in columns.items():
            losses.append(train(own, flags, seed, precision))
        line = (f"{p} {v[-1]:.4f} ({v[-1] / columns['float32'][-1] - 1:+.1%})" for p, v in columns.items())
        print(f"seed {seed}: {'  '.join(line)}", flush=True)
    means = {precision: statistics.mean(losses) for precision, losses in columns.items()}
    spread = statistics.stdev(columns["float32"]) / means["float32"]
    line = "  ".join(f"{p} {m:.4f} ({m / means['float32'] - 1:+.1%})" for p, m in means.items())
    print(
        f"mean of {own.seeds} seeds: {line}; one float32 run differs from another by {spread:.1%} (standard deviation)"
    )


def train(own, flags: list[str], seed: int, precision: str) -> float:
    """The mean training loss of the last steps of a run."""
    name = f"{precision}_{seed}"
    options = [f"--flagfile={own.flagfile}", f"--file={own.file}", f"--run_id={name}", f"--output_dir={own.folder}"]
    options += [f"--precision={precision}", f"--seed={seed}", f"--iterations={own.steps}", "--noxla", *flags]
    subprocess.run([sys.executable, "-m", "cosmictagger_tf.train", *options], check=True, capture_output=True)
    with open(Path(own.folder, name, "history.csv"), newline="") as file:
        losses = [float(line["loss"]) for line in csv.DictReader(file) if line["split"] == "train"]
    return statistics.mean(losses[-own.last :])


if __name__ == "__main__":
    main()
