"""Shares of the classes among the readouts that trained the event head."""

import logging
from pathlib import Path
from typing import NamedTuple

from cosmictagger_tf.detector import EVENT_CLASS_NAMES, NEUTRINO_KINDS
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.recorders import history_lines

log = logging.getLogger(__name__)


class TrainingShares(NamedTuple):
    """The priors of a training.

    Attributes:
        prior: share of the readouts of known class that have a neutrino, from 0 to 1.
        kinds: of these the share of each kind, in the order of EVENT_CLASS_NAMES; None where they are not known, or
            the training lacked one.
    """

    prior: float
    kinds: tuple[float, ...] | None = None


def recorded_shares(history: Path, step: int) -> TrainingShares | None:
    """The shares that a run's training counted, as often as it saw each; readouts of unknown class taught nothing.

    Args:
        history: the run's history.csv, whose event_counts have each step's readouts by their true class.
        step: of the checkpoint; later steps do not count.

    Returns:
        None where the run recorded no classes.
    """
    seen = dict.fromkeys(EVENT_CLASS_NAMES, 0.0)
    try:
        for line in history_lines(history, step):
            if line["split"] == "train":
                for name in seen:
                    counts = (line.get(f"event_counts/{name}/{called}") for called in EVENT_CLASS_NAMES)
                    seen[name] += sum(float(count) for count in counts if count)
    except (KeyError, ValueError):
        return None
    total = sum(seen.values())
    if not total:
        return None
    kinds = [list(seen.values())[kind] for kind in NEUTRINO_KINDS]
    share = sum(kinds) / total
    log.info(f"the training saw {counted(round(total), 'readout')} of known class, {share:.1%} with a neutrino")
    return TrainingShares(share, tuple(number / sum(kinds) for number in kinds) if all(kinds) else None)
