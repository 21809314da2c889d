"""The metrics in bins of what the events are: neutrino energy, kind, number of neutrino and of cosmic pixels."""

from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.detector import COSMIC, NEUTRINO
from cosmictagger_tf.inference.evaluate.true_readouts import ENERGY_EDGES, TrueReadouts, between
from cosmictagger_tf.training.evaluation import EventTable
from cosmictagger_tf.training.metrics import metrics_from_counts

# Of the pixel counts: quantiles, so that each bin has as many events.
PIXEL_BINS = 6
# The recall of the neutrino's pixels is what an analysis calls efficiency, the precision purity.
SHOWN = {"neutrino_iou": "neutrino IoU", "neutrino_recall": "efficiency", "neutrino_precision": "purity"}


@dataclass(frozen=True)
class Bin:
    """The events of one bin.

    Attributes:
        name: such as "0.5 to 0.75".
        events: how many.
        middle: mean of the quantity over the bin's events; of no meaning for a kind.
        metrics: name in SHOWN -> (mean over events and planes, standard error of it; NaN for a single event).
        pass_rate: fraction of the events that pass the event cut.
    """

    name: str
    events: int
    middle: float
    metrics: dict[str, tuple[float, float]]
    pass_rate: float


def breakdowns(table: EventTable, truth: TrueReadouts, passed: np.ndarray) -> dict[str, list[Bin]]:
    """Title -> bins, without those that have no event, and without titles that have no bin; where no neutrino is known,
    by numbers of pixels alone.

    Args:
        table: of the evaluation.
        truth: of the same events.
        passed: bool [events], the event cut.
    """
    values = {n: v.mean(axis=1) for n, v in metrics_from_counts(table.counts).items() if n in SHOWN}

    def bins(quantity, groups):
        return [_bin(name, chosen, quantity, values, passed) for name, chosen in groups if chosen.any()]

    breakdown = {}
    if truth.with_neutrino.any():
        breakdown["neutrino energy (GeV)"] = bins(truth.energies, between(truth.energies, ENERGY_EDGES))
        breakdown["kind"] = bins(truth.energies, truth.partition().items())
    for name, which in (("neutrino", NEUTRINO), ("cosmic", COSMIC)):
        pixels = table.counts[:, :, which].sum(axis=(1, 2)).astype(np.float64)
        edges = np.unique(np.quantile(pixels, np.linspace(0, 1, PIXEL_BINS + 1)))
        edges[-1] += 1
        groups = between(pixels, edges if len(edges) > 1 else [edges[0] - 1, edges[0]])
        breakdown[f"{name} pixels, all planes"] = bins(pixels, groups)
    # As the energies of a file whose neutrinos have negative ones: no bin holds them.
    return {title: those for title, those in breakdown.items() if those}


def _bin(name, chosen, quantity, values, passed) -> Bin:
    count = int(chosen.sum())
    error = np.sqrt(count) if count > 1 else np.nan
    metrics = {n: (float(v[chosen].mean()), float(v[chosen].std(ddof=count > 1) / error)) for n, v in values.items()}
    return Bin(name, count, float(quantity[chosen].mean()), metrics, float(passed[chosen].mean()))
