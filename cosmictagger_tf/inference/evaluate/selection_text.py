"""What is printed of the selection of readouts."""

from cosmictagger_tf.detector import EVENT_CLASS_NAMES
from cosmictagger_tf.inference.evaluate.rates import Rate
from cosmictagger_tf.inference.evaluate.selection import Selection
from cosmictagger_tf.inference.evaluate.selection_results import SelectionResults, right_rate
from cosmictagger_tf.inference.evaluate.true_readouts import COSMIC
from cosmictagger_tf.text import counted
from cosmictagger_tf.training.event_metrics import event_measures


def selection_lines(results: SelectionResults) -> list[str]:
    """What each cut keeps, the loosest cuts for a share of cosmic-only readouts, and the classes of the event head."""
    absent = results.truth.absent()
    lines = ["selection of readouts" + (f"; the truth has none of: {', '.join(absent)}" if absent else "")]
    if results.unknown:
        lines.append(_unknown_line(results))
    for one in results.cuts:
        lines += ["", *_cut_lines(one, results)]
    for points in results.points.values():
        lines += ["", *(_point_line(share, one, results) for share, one in points)] if points else []
    if results.class_counts is not None:
        lines += ["", *_class_lines(results.class_counts)]
    return lines


def _unknown_line(results) -> str:
    # How many there are, and why.
    untold = int(results.truth.untold.sum())
    reasons = {
        "whose neutrinos no file tells: see --producer_particle": untold,
        "of several neutrinos, of none, or of one without a class": results.unknown - untold,
    }
    why = "; ".join(f"{number} {reason}" for reason, number in reasons.items() if number)
    return f"{counted(results.unknown, 'readout')} with neutrino pixels, but of unknown class, left out: {why}"


def _cut_lines(one: Selection, results) -> list[str]:
    lines = [f"{one.cut!s:26}{'readouts':>10}{'pass':>9}   95 % interval"]
    rates = {**one.efficiencies["kind"], COSMIC: one.kept}
    for name, rate in rates.items():
        if rate is not None:
            lines.append(f"  {name:24}{rate.events:10}{rate.rate:9.1%}   {rate.low:.1%} to {rate.high:.1%}")
    if one.purity is not None:
        ends = f"{one.purity.low:.1%} to {one.purity.high:.1%}"
        lines.append(f"  purity at a prior of {results.prior:<13g}{one.purity.purity:9.1%}   {ends}")
    elif results.prior:
        lack = f"{'readouts of known class lack' if results.unknown else 'the truth lacks'} a side of it"
        lines.append(f"  no purity: {lack if one.passed.any() else 'nothing passes'}")
    if results.made_of is not None and one.kept is not None and one.kept.rate:
        made = results.made_of[str(one.cut)]
        lines.append("  those kept are mostly of: " + ", ".join(f"{name} {n}" for name, n in made.items() if n))
    return lines


def _point_line(share: float, one: Selection, results) -> str:
    assert one.kept is not None, "else there are no points"
    rates = {name: rate for name, rate in one.efficiencies["kind"].items() if rate is not None}
    none = f"no neutrino {'of known class' if results.unknown else 'in the truth'}"
    efficiencies = ", ".join(f"{name} {rate.rate:.1%}" for name, rate in rates.items()) or none
    return f"at most {share:.1%} of cosmic rays only ({one.kept.rate:.2%}): {one.cut}: {efficiencies}"


def _class_lines(counts) -> list[str]:
    if not counts.sum():
        return ["class by the event head: the truth has no readout of known class"]
    measures = event_measures(counts)
    lines = [
        f"class by the event head: right {measures['event_accuracy']:.1%}, "
        f"at equal priors of the classes that there are {measures['event_balanced_accuracy']:.1%}",
        f"{'true, called':14}" + "".join(f"{name:>13}" for name in EVENT_CLASS_NAMES) + "   right, 95 % interval",
    ]
    for number, name in enumerate(EVENT_CLASS_NAMES):
        rate: Rate | None = right_rate(counts, number)
        if rate is not None:
            right = f"{rate.rate:.1%}, {rate.low:.1%} to {rate.high:.1%}"
            lines.append(f"{name:14}" + "".join(f"{n:13}" for n in counts[number]) + f"   {right}")
    return lines
