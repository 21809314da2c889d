"""Tables of metrics as text."""

from cosmictagger_tf.inference.evaluate.evaluate_run import Evaluation
from cosmictagger_tf.inference.evaluate.event_cut import pass_rates
from cosmictagger_tf.inference.evaluate.reliability import Reliability
from cosmictagger_tf.inference.evaluate.selection_text import selection_lines
from cosmictagger_tf.inference.evaluate.vertex_results import vertex_lines
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.evaluation import READOUT_MEASURES, EventTable
from cosmictagger_tf.training.metrics import HEADLINE_METRICS, plane_key

MEASURE_NAMES = dict(zip(READOUT_MEASURES, ("neutrino IoU, with one", "told apart", "mean of the two"), strict=True))


def report_text(evaluation: Evaluation) -> str:
    """What evaluate prints: the metrics, the neutrino score's curves, the event cut, the selection of readouts."""
    curve = evaluation.histogram.curve()
    lines = [metrics_table(evaluation.table, evaluation.intervals), ""]
    areas = (
        f"area under the ROC curve {curve.auc:.5f} (binning: +-{curve.auc_error:.0e}), "
        f"average precision {curve.average_precision:.5f}"
    )
    lines += [f"neutrino score of the stored pixels: {f'{curve.lacks} in the truth' if curve.lacks else areas}"]
    rates = pass_rates(evaluation.cut, evaluation.selection.truth)["both"]
    lines += [
        f"event cut: {evaluation.cut.passed.sum()} of {counted(rates['events'], 'event')} pass "
        f"({rates['rate']:.1%}, 95 % interval {rates['low']:.1%} to {rates['high']:.1%})"
    ]
    lines += ["", *selection_lines(evaluation.selection)]
    lines += ["", *reliability_lines(evaluation.reliability)]
    lines += ["", *vertex_lines(evaluation.vertices)] if evaluation.vertices else []
    return "\n".join(lines)


def metrics_table(table: EventTable, intervals: dict[str, tuple[float, float]] | None = None) -> str:
    """The metrics, one a line: mean over planes and each plane, headline (mean over events) and pooled.

    Args:
        table: of the evaluation.
        intervals: 95 % intervals by name, shown for the mean over planes where they are given.
    """
    summary, planes = table.summary(), table.counts.shape[1]
    columns = ["mean", *(f"plane {p}" for p in range(planes))]
    head = f"{'':24}" + "".join(f"{c:>10}" for c in columns) + ("   95 % interval of the mean" if intervals else "")
    lines = [f"{counted(len(table.entries), 'event')}, loss {summary['loss']:.6f}", *table.absent_lines()]
    for title, prefix in (("mean over events (headline)", ""), ("pooled over the set", "pooled/")):
        lines += ["", f"{title:24}", head]
        for name in HEADLINE_METRICS:
            keys = [prefix + name, *(prefix + plane_key(name, p) for p in range(planes))]
            line = f"{name:24}" + "".join(f"{summary[key]:10.5f}" for key in keys)
            if intervals:
                line += "   {:.5f} to {:.5f}".format(*intervals[prefix + name])
            lines.append(line)
    lines += _over_those_with_a_neutrino(summary, planes, intervals or {})
    return "\n".join(lines)


def _over_those_with_a_neutrino(summary, planes, intervals) -> list[str]:
    # The measures of readouts, where there are some without a neutrino.
    lines = []
    for name in READOUT_MEASURES:
        if name in summary:
            keys = [name, *(plane_key(name, p) for p in range(planes))]
            line = f"{MEASURE_NAMES[name]:24}" + "".join(f"{summary[key]:10.5f}" for key in keys if key in summary)
            ends = intervals.get(name)
            lines.append(line + ("   {:.5f} to {:.5f}".format(*ends) if ends else ""))
    return ["", "with and without a neutrino", *lines] if lines else []


def reliability_lines(sets: dict[str, Reliability]) -> list[str]:
    """The calibration errors, a line each."""
    lines = []
    for name, each in sets.items():
        ends = " ({:.4f} to {:.4f})".format(*each.interval) if each.interval else ""
        lines.append(f"calibration error of {name}: {each.lacks or f'{each.error:.4f}{ends}'}")
    return lines
