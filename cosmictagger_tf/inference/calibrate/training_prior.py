"""Which share of the readouts that taught an event head its classes had a neutrino."""

import csv
import logging
from pathlib import Path

from cosmictagger_tf.data.truth import COSMIC_ONLY
from cosmictagger_tf.detector import EVENT_CLASS_NAMES
from cosmictagger_tf.errors import read_errors
from cosmictagger_tf.text import counted

log = logging.getLogger(__name__)


def recorded_prior(history: Path, step: int) -> float | None:
    """The share that a run's training counted, as often as it saw each; readouts of unknown class taught nothing.

    Args:
        history: the run's history.csv, whose event_counts have each step's readouts by their true class.
        step: of the checkpoint; later steps do not count.

    Returns:
        From 0 to 1; None where the run recorded no classes.
    """
    seen = dict.fromkeys(EVENT_CLASS_NAMES, 0.0)
    try:
        with read_errors(history), open(history, encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["split"] == "train" and int(line["step"]) <= step:
                    for name in seen:
                        counts = (line.get(f"event_counts/{name}/{called}") for called in EVENT_CLASS_NAMES)
                        seen[name] += sum(float(count) for count in counts if count)
    except (FileNotFoundError, KeyError, ValueError):
        return None
    total = sum(seen.values())
    if not total:
        return None
    share = 1 - seen[EVENT_CLASS_NAMES[COSMIC_ONLY]] / total
    log.info(f"the training saw {counted(round(total), 'readout')} of known class, {share:.1%} with a neutrino")
    return share
