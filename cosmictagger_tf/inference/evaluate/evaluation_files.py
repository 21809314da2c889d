"""The files of an evaluation: JSON with every number, CSV with a line an event, HTML to look at."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cosmictagger_tf import execution
from cosmictagger_tf.config import EvaluateConfig
from cosmictagger_tf.config.quoting import readable
from cosmictagger_tf.detector import CLASS_NAMES
from cosmictagger_tf.files import replaced_file, write_json
from cosmictagger_tf.inference.evaluate.evaluate_run import Evaluation
from cosmictagger_tf.inference.evaluate.event_cut import pass_rates
from cosmictagger_tf.inference.evaluate.reliabilities import describe_reliabilities
from cosmictagger_tf.inference.evaluate.selection_results import describe_selections, selection_columns
from cosmictagger_tf.inference.evaluate.vertex_results import describe_vertices, vertex_columns
from cosmictagger_tf.training.metrics import METRICS, metrics_from_counts, plane_key


def write_evaluation(evaluation: Evaluation, evaluate: EvaluateConfig, base: Path) -> list[Path]:
    """Writes the HTML file at `base`, and JSON and CSV beside it; returns their paths."""
    paths = [base.with_suffix(".json"), base.with_suffix(".csv")]
    write_json(paths[0], describe(evaluation, evaluate))
    write_events(evaluation, paths[1])
    if evaluate.html:
        from cosmictagger_tf.inference.evaluate.report_page import write_report

        paths.append(base)
        write_report(evaluation, evaluate, base)
    return paths


def describe(evaluation: Evaluation, evaluate: EvaluateConfig) -> dict:
    """Every number of an evaluation, for JSON; what there is no number for is null, and named beside it."""
    curves = {"all": evaluation.histogram.curve()}
    curves |= {f"plane{p}": evaluation.histogram.curve(p) for p in range(evaluation.histogram.planes)}
    record = {
        "files": [readable(file) for file in evaluation.reader.files],
        "events": len(evaluation.table.entries),
        "weights": readable(str(evaluation.trained.weights)),
        "step": evaluation.trained.step,
        "calibration": evaluation.trained.calibration.to_dict(),
        "working_point": evaluation.trained.working_point,
        "downsample": evaluation.trained.data.downsample,
        "metrics": evaluation.table.summary(),
        "absent_in_truth": evaluation.table.absent(),
        "intervals_95": {name: list(ends) for name, ends in evaluation.intervals.items()},
        "bootstrap": evaluate.bootstrap,
        "confusion": evaluation.table.counts.sum(axis=0).tolist(),
        "neutrino_score": {
            name: {"auc": c.auc, "auc_error": c.auc_error, "average_precision": c.average_precision, "lacks": c.lacks}
            for name, c in curves.items()
        },
        "event_cut": pass_rates(evaluation.cut, evaluation.selection.truth),
        "selection": describe_selections(evaluation.selection),
        "reliability": describe_reliabilities(evaluation.reliability),
        "vertex": describe_vertices(evaluation.vertices),
        "bins": {title: [asdict(bin) for bin in bins] for title, bins in evaluation.bins.items()},
        **execution.describe(),
    }
    return _without_nan(record)


def event_columns(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """The columns of --table: of each event its ids, and see selection_columns and vertex_columns."""
    ids = np.array(evaluation.event_ids, np.int64).reshape(-1, 3)
    columns = {"entry": evaluation.table.entries, "run": ids[:, 0], "subrun": ids[:, 1], "event": ids[:, 2]}
    columns |= selection_columns(evaluation.selection, evaluation.details)
    return columns | vertex_columns(evaluation.details, evaluation.points)


def write_events(evaluation: Evaluation, path: Path):
    """The CSV file: ids, truth, event cut, loss, absent classes, metrics, vertices' distances, confusion counts."""
    table, cut, planes = evaluation.table, evaluation.cut, range(evaluation.histogram.planes)
    kinds = evaluation.selection.truth.names()
    metrics, distances = metrics_from_counts(table.counts), vertex_columns(evaluation.details, evaluation.points)
    with replaced_file(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = None
        for i, entry in enumerate(table.entries):
            run, subrun, event = evaluation.event_ids[i]
            neutrino = evaluation.neutrinos[i]
            line: dict[str, Any] = {"entry": int(entry), "run": run, "subrun": subrun, "event": event}
            line["true_kind"] = kinds[i]
            line["neutrino_energy_gev"] = neutrino.energy if neutrino else ""
            line["neutrino_flavour"] = neutrino.flavour if neutrino else ""
            line["neutrino_pdg"] = neutrino.pdg if neutrino else ""
            line["passes_cut"] = int(cut.passed[i])
            line["drift_difference"] = _number(cut.difference[i])
            line["loss"] = _number(table.losses[i])
            absent = table.counts[i].sum(axis=-1) == 0
            line["absent_in_truth"] = " ".join(plane_key(CLASS_NAMES[c], p) for p, c in np.argwhere(absent))
            line |= {name: _number(metrics[name][i].mean()) for name in METRICS}
            line |= {plane_key(name, p): _number(metrics[name][i, p]) for name in METRICS for p in planes}
            line |= {name: _number(values[i]) for name, values in distances.items()}
            for p in planes:
                line[f"predicted_neutrino_pixels/plane{p}"] = int(evaluation.details.neutrino_pixels[i, p])
                line[f"mean_row/plane{p}"] = _number(evaluation.details.mean_rows[i, p])
                line |= {
                    f"{true}_as_{called}/plane{p}": int(table.counts[i, p, t, c])
                    for t, true in enumerate(CLASS_NAMES)
                    for c, called in enumerate(CLASS_NAMES)
                }
            if writer is None:
                writer = csv.DictWriter(file, line)
                writer.writeheader()
            writer.writerow(line)


def _number(value) -> str:
    return "" if np.isnan(value) else f"{float(value):.7g}"


def _without_nan(value):
    # JSON has no NaN.
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
