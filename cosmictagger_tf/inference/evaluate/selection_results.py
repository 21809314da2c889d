"""What an evaluation tells of selecting readouts: by cuts, by thresholds, by the class that the event head gives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosmictagger_tf.config.cuts import Cut
from cosmictagger_tf.detector import EVENT_CLASS_NAMES, N_EVENT_CLASSES
from cosmictagger_tf.inference.evaluate.composition import made_of
from cosmictagger_tf.inference.evaluate.details import EventDetails
from cosmictagger_tf.inference.evaluate.rates import Rate
from cosmictagger_tf.inference.evaluate.selection import (
    CURVE_SHARES,
    KEPT_SHARES,
    SCANNED,
    Selection,
    loosest_cuts,
    select,
)
from cosmictagger_tf.inference.evaluate.true_readouts import TrueReadouts
from cosmictagger_tf.training.event_metrics import event_measures


@dataclass(frozen=True)
class SelectionResults:
    """The selections of an evaluation.

    Attributes:
        truth: of the readouts.
        quantities: what cuts look at, see EventDetails.quantities.
        prior: share of readouts with a neutrino for which purities are; 0 = for none.
        cuts: what each cut keeps.
        points: quantity -> of KEPT_SHARES, the share of cosmic-only readouts that may be kept, and what the loosest
            such cut keeps.
        curves: the same, of CURVE_SHARES.
        made_of: what the kept cosmic-only readouts are made of (composition.py), by the text of the cut, for `cuts` and
            `points`. None where the files do not tell.
        class_counts: int64 [true class, called class]; None where the network has no event head.
    """

    truth: TrueReadouts
    quantities: dict[str, np.ndarray]
    prior: float
    cuts: list[Selection]
    points: dict[str, list[tuple[float, Selection]]]
    curves: dict[str, list[tuple[float, Selection]]]
    made_of: dict[str, dict[str, int]] | None
    class_counts: np.ndarray | None

    @property
    def unknown(self) -> int:
        """The number of readouts whose class is not known: they count nowhere."""
        return int(self.truth.unknown.sum())


def selections(details: EventDetails, truth: TrueReadouts, cuts: Sequence[Cut], prior: float) -> SelectionResults:
    """All of them; the cuts' quantities are there (see given_quantities)."""
    quantities = details.quantities()
    selected = [select(cut, quantities, truth, prior) for cut in dict.fromkeys(cuts)]
    scanned = [name for name in SCANNED if name in quantities]
    points, curves = (
        {name: list(loosest_cuts(name, quantities, truth, shares, prior)) for name in scanned}
        for shares in (KEPT_SHARES, CURVE_SHARES)
    )
    made = None
    if details.primaries is not None:
        every = [*selected, *(selection for ones in points.values() for _, selection in ones)]
        made = {str(one.cut): made_of(details.primaries, one.passed & truth.cosmic_only) for one in every}
    counts = None if details.called_classes is None else class_confusion(truth.classes, details.called_classes)
    return SelectionResults(truth, quantities, prior, selected, points, curves, made, counts)


def class_confusion(classes: np.ndarray, called: np.ndarray) -> np.ndarray:
    """int64 [true class, called class]: the readouts of known class.

    Args:
        classes: int [events], negative where unknown.
        called: int [events].
    """
    counts = np.zeros((N_EVENT_CLASSES, N_EVENT_CLASSES), np.int64)
    known = classes >= 0
    np.add.at(counts, (classes[known], called[known]), 1)
    return counts


def describe_selections(results: SelectionResults) -> dict:
    """Every number, for JSON; null is what there is no readout of known class for. `absent_in_truth` names kinds of
    which there is surely none, `unknown` is how many may be of any kind with a neutrino."""
    names, numbers = np.unique(results.truth.names().astype(str), return_counts=True)
    return {
        "readouts": {str(name): int(n) for name, n in zip(names, numbers, strict=True) if name},
        "unknown": results.unknown,
        "absent_in_truth": results.truth.absent(),
        "prior": results.prior or None,
        "cuts": [_describe(one, results) for one in results.cuts],
        "at_most_kept": {
            name: [{"share": share} | _describe(one, results) for share, one in points]
            for name, points in results.points.items()
        },
        "curves": {name: [_point(one) for _, one in curve] for name, curve in results.curves.items()},
        "event_class": None if results.class_counts is None else _describe_classes(results.class_counts),
    }


def _describe(one: Selection, results: SelectionResults) -> dict:
    return {
        "cut": str(one.cut),
        "cosmic_only": _rate(one.kept),
        "efficiency": {title: _rates(group) for title, group in one.efficiencies.items()},
        "purity": one.purity and one.purity._asdict(),
        "cosmic_only_made_of": results.made_of and results.made_of[str(one.cut)],
    }


def _point(one: Selection) -> dict:
    (condition,) = one.cut.conditions
    return {
        "threshold": condition.value,
        "cosmic_only": _rate(one.kept),
        "efficiency": {"kind": _rates(one.efficiencies["kind"])},
    }


def _rates(group) -> dict:
    return {name: _rate(rate) for name, rate in group.items()}


def _rate(rate: Rate | None) -> dict | None:
    return rate and rate._asdict()


def _describe_classes(counts) -> dict:
    return {
        "classes": EVENT_CLASS_NAMES,
        "confusion": counts.tolist(),
        "right": {name: _rate(right_rate(counts, number)) for number, name in enumerate(EVENT_CLASS_NAMES)},
        **event_measures(counts),
    }


def right_rate(counts: np.ndarray, number: int) -> Rate | None:
    """The share of the readouts of a true class that are called so; None where there is none."""
    return Rate.of(np.arange(counts[number].sum()) < counts[number, number])


def selection_columns(results: SelectionResults, details: EventDetails) -> dict[str, np.ndarray]:
    """Columns of a table with a line an event: truth, what cuts look at, which pass, and what the event head gives.

    Names have the plane or the class behind a slash, as in the records of a training.
    """
    truth = results.truth
    columns: dict[str, np.ndarray] = {
        "true_kind": np.array([name or None for name in truth.names()], object),
        "true_neutrino_energy_gev": truth.energies,
        "true_final_state": np.array([state or None for state in truth.final_states], object),
        "true_neutrino_pixels": details.true_pixels,
        **results.quantities,
    }
    for plane in range(details.neutrino_pixels.shape[1]):
        columns[f"predicted_neutrino_pixels/plane{plane}"] = details.neutrino_pixels[:, plane]
        columns[f"mean_row/plane{plane}"] = details.mean_rows[:, plane]
    columns |= {f"passes {one.cut}": one.passed for one in results.cuts}
    if details.class_scores is not None and details.called_classes is not None:
        columns["called_class"] = np.array(EVENT_CLASS_NAMES, object)[details.called_classes]
        columns |= {f"probability/{name}": details.class_scores[:, c] for c, name in enumerate(EVENT_CLASS_NAMES)}
    return columns
