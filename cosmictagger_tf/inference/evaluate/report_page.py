"""The HTML report of an evaluation: one file, with all plots inside, that opens without a network."""

import html
from pathlib import Path

import numpy as np

from cosmictagger_tf import execution
from cosmictagger_tf.config import EvaluateConfig
from cosmictagger_tf.config.quoting import readable
from cosmictagger_tf.files import replaced_file
from cosmictagger_tf.inference.evaluate import report_plots
from cosmictagger_tf.inference.evaluate.curves import BINS, LIMIT
from cosmictagger_tf.inference.evaluate.evaluate_run import Evaluation
from cosmictagger_tf.inference.evaluate.event_cut import pass_rates
from cosmictagger_tf.inference.evaluate.report import MEASURE_NAMES
from cosmictagger_tf.inference.evaluate.selection_text import selection_lines
from cosmictagger_tf.inference.evaluate.vertex_results import vertex_lines
from cosmictagger_tf.inference.event_figure import draw_event
from cosmictagger_tf.inference.event_picture import event_name, take_picture
from cosmictagger_tf.networks.predictor import ImagePredictor
from cosmictagger_tf.training.metrics import METRICS, metrics_from_counts, plane_key

# Points of a dot in a picture of an event, which the page's width makes a third smaller: a pixel of the screen is left.
SMALLEST_DOT = 1.2
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.7em; } h2 { font-size: 1.25em; margin-top: 2.2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 0.8em 0; } td, th { padding: 0.2em 0.8em; text-align: right; }
th { border-bottom: 1px solid #999; font-weight: 600; } td:first-child, th:first-child { text-align: left; }
tr:nth-child(even) td { background: #f6f6f6; } small, .note { color: #666; } svg { max-width: 100%; height: auto; }
"""


def write_report(evaluation: Evaluation, evaluate: EvaluateConfig, path: Path):
    """Writes the page to a file that is complete or absent."""
    sections = [
        ("", _head(evaluation)),
        ("Metrics", _metrics(evaluation, evaluate)),
        ("Confusion matrices", _confusion(evaluation)),
        ("Neutrino score", _score(evaluation)),
        ("Events", _events(evaluation)),
        *((f"By {title}", _breakdown(title, bins)) for title, bins in evaluation.bins.items()),
        ("Event cut", _cut(evaluation, evaluate)),
        ("Selection of readouts", _selection(evaluation.selection)),
        *([("Vertex", _text(vertex_lines(evaluation.vertices)))] if evaluation.vertices else []),
        ("Reliability", _reliability(evaluation)),
        ("Best, median and worst events", _gallery(evaluation)),
    ]
    body = "\n".join(
        f"<section>{f'<h2>{title}</h2>' if title else ''}{content}</section>" for title, content in sections
    )
    page = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Evaluation</title><style>{STYLE}</style>'
    with replaced_file(path) as beside:
        text = f"{page}</head><body><h1>Evaluation of a cosmic tagger</h1>{body}</body></html>\n"
        beside.write_text(text, encoding="utf-8")


def _head(evaluation):
    versions = execution.describe()["versions"]
    trained, data = evaluation.trained, evaluation.trained.data
    rows = [
        ("files", ", ".join(evaluation.reader.files)),
        ("events", f"{len(evaluation.table.entries)}"),
        ("weights", f"{trained.weights}" + (f" (step {trained.step})" if trained.step is not None else "")),
        ("working point", f"{trained.working_point}: {_shifts(trained.point)}"),
        (
            "network",
            f"{trained.network.conv_mode}, depth {trained.network.network_depth}, input {evaluation.segmenter.shape}",
        ),
        (
            "downsample",
            f"{data.downsample}: a pixel of the network is {2**data.downsample} x {2**data.downsample} of the file",
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    cells = "".join(
        f"<tr><td>{name}</td><td style='text-align:left'>{html.escape(readable(text))}</td></tr>" for name, text in rows
    )
    return f"<table>{cells}</table>"


def _shifts(point):
    apart = "" if point.joined else ", pixels as if the readout had a neutrino"
    return f"background_shift {point.background_shift:g}, neutrino_shift {point.neutrino_shift:g}{apart}"


def _metrics(evaluation, evaluate):
    summary, planes = evaluation.table.summary(), range(evaluation.histogram.planes)
    parts = []
    for title, prefix in (("Mean over events (headline)", ""), ("Pooled over the set", "pooled/")):
        rows = []
        for name in METRICS:
            keys = [prefix + name, *(prefix + plane_key(name, p) for p in planes)]
            cells = "".join(f"<td>{_with_interval(summary[key], evaluation.intervals.get(key))}</td>" for key in keys)
            rows.append(f"<tr><td>{name.replace('_', ' ').replace('iou', 'IoU')}</td>{cells}</tr>")
        head = "".join(f"<th>{name}</th>" for name in (title, "mean of planes", *(f"plane {p}" for p in planes)))
        parts.append(f"<table><tr>{head}</tr>{''.join(rows)}</table>")
    measured = {
        name: _with_interval(summary[key], evaluation.intervals.get(key))
        for key, name in MEASURE_NAMES.items()
        if key in summary
    }
    rows = [f"<tr><td>{name}</td><td>{cells}</td></tr>" for name, cells in measured.items()]
    parts += [f"<table><tr><th>With and without a neutrino</th><th></th></tr>{''.join(rows)}</table>"] if rows else []
    if evaluation.intervals:
        parts.append(
            f"<p class=note>In small print: 95 % intervals, from {evaluate.bootstrap} drawings of the events with "
            f"replacement (seed {evaluate.bootstrap_seed}).</p>"
        )
    parts += [f"<p class=note>{line}.</p>" for line in evaluation.table.absent_lines()]
    return "".join(parts) + f"<p>Loss: {_with_interval(summary['loss'], evaluation.intervals.get('loss'))}</p>"


def _with_interval(value, interval):
    if interval is None:
        return f"{value:.5f}"
    return f"{value:.5f}<br><small>{interval[0]:.5f} to {interval[1]:.5f}</small>"


def _confusion(evaluation):
    planes = evaluation.histogram.planes
    note = "<p class=note>Share of each true class's pixels, empty ones included, and their number; pooled.</p>"
    return report_plots.svg(report_plots.confusion, 3.7 * planes, 3.7, planes, table=evaluation.table) + note


def _score(evaluation):
    curve = evaluation.histogram.curve()
    binning = f"binning moves the area under the ROC curve by at most {curve.auc_error:.1e}"
    binning = f"there is no area: {curve.lacks} in the truth" if curve.lacks else binning
    note = (
        f"<p class=note>Of the stored pixels, neutrino against cosmic and noise. {BINS} bins of the score's log-odds "
        f"from -{LIMIT} to {LIMIT}; {binning}. The "
        "horizontal axis of the ROC plot is linear below 10<sup>-4</sup> and logarithmic above.</p>"
    )
    curves = report_plots.svg(report_plots.curves, 11, 4.4, 2, histogram=evaluation.histogram)
    return curves + report_plots.svg(report_plots.scores, 7, 3.6, histogram=evaluation.histogram) + note


def _events(evaluation):
    return report_plots.svg(report_plots.event_spread, 10, 3.4, 2, table=evaluation.table)


def _breakdown(title, bins):
    rows = []
    for b in bins:
        cells = "".join(
            f"<td>{mean:.4f}{f' &plusmn; {error:.4f}' if np.isfinite(error) else ''}</td>"
            for mean, error in b.metrics.values()
        )
        rows.append(f"<tr><td>{b.name}</td><td>{b.events}</td>{cells}<td>{b.pass_rate:.1%}</td></tr>")
    columns = (title, "events", *(report_plots.SHOWN[name] for name in bins[0].metrics), "event cut passed")
    head = "".join(f"<th>{name}</th>" for name in columns)
    plot = report_plots.svg(report_plots.breakdown, 8, 3.8, bins=bins, title=title, categories=title == "kind")
    note = (
        "<p class=note>Mean over events and planes, with its standard error; above the plot, the number of events. "
        "Where an event has no neutrino pixel, its efficiency counts 1.</p>"
    )
    return f"{plot}<table><tr>{head}</tr>{''.join(rows)}</table>{note}"


def _cut(evaluation, evaluate):
    rows = "".join(
        f"<tr><td>{name}</td><td>{r['events']}</td><td>{r['rate']:.1%}</td>"
        f"<td>{r['low']:.1%} to {r['high']:.1%}</td></tr>"
        for name, r in pass_rates(evaluation.cut, evaluation.selection.truth).items()
    )
    text = (
        f"<p>An event passes with more than {evaluate.event_cut_pixels} stored pixels predicted as neutrino in "
        f"every plane and mean drift times that agree between the planes within {evaluate.event_cut_rows:g} ticks.</p>"
    )
    head = "<tr><th>condition</th><th>events</th><th>pass</th><th>95 % interval</th></tr>"
    table = f"{text}<table>{head}{rows}</table>"
    if not np.isfinite(evaluation.cut.difference).any():
        return f"{table}<p class=note>No event has predicted neutrino pixels in every plane.</p>"
    plot = report_plots.svg(
        report_plots.cut_plane,
        7,
        4,
        neutrino_pixels=evaluation.details.neutrino_pixels,
        cut=evaluation.cut,
        pixels=evaluate.event_cut_pixels,
        rows=evaluate.event_cut_rows,
    )
    return table + plot


def _selection(results):
    text = _text(selection_lines(results))
    curves = {name: curve for name, curve in results.curves.items() if curve and curve[0][1].efficiency is not None}
    if not curves:
        return text
    plot = report_plots.svg(report_plots.selection, 5.5 * len(curves), 4.2, len(curves), curves=curves)
    note = (
        "<p class=note>For thresholds on each quantity: which share is kept of the readouts with cosmic rays only, and "
        "which of those with a neutrino, by kind. At the left edge stands what is kept where none of the former is.</p>"
    )
    return plot + note + text


def _text(lines):
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def _reliability(evaluation):
    sets, calibrated = evaluation.reliability, evaluation.trained.calibration.training_prior is not None
    plot = report_plots.svg(report_plots.reliability, 5.5 * len(sets), 4.2, len(sets), sets=sets)
    prior = (
        "Probabilities are at equal priors, and readouts count as if as many had a neutrino as had none."
        if calibrated
        else "The weights are not calibrated: probabilities are as the training made them."
    )
    return (
        f"{plot}<p class=note>Of what has a probability of a neutrino, the share that is one, with 95 % intervals: of "
        f"readouts, and of stored pixels. {prior}</p>"
    )


def _gallery(evaluation):
    values = metrics_from_counts(evaluation.table.counts)["neutrino_iou"].mean(axis=1)
    order = np.argsort(values, kind="stable")
    chosen = {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
    truth = evaluation.selection.truth
    kinds = truth.names()
    predictor, trained = ImagePredictor(evaluation.segmenter, xla=False), evaluation.trained
    parts = ["<p class=note>By neutrino IoU, mean over planes.</p>"]
    for name, i in chosen.items():
        entry = int(evaluation.table.entries[i])
        title = f"{name}: {event_name(entry, evaluation.event_ids[i])}, neutrino IoU {values[i]:.3f}"
        title += f", {kinds[i]}" if kinds[i] else ""
        title += f", {truth.energies[i]:.2f} GeV" if np.isfinite(truth.energies[i]) else ""
        event = evaluation.reader.read(entry)
        picture = take_picture(title, event, predictor, trained.data.downsample, trained.calibration)
        parts.append(report_plots.figure_svg(draw_event(picture, SMALLEST_DOT)))
    return "".join(parts)
