"""The files of an evaluation: JSON with every number, CSV with a line an event, HTML to look at."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cosmictagger_tf import execution
from cosmictagger_tf.config import EvaluateConfig, OutputConfig, WeightsConfig
from cosmictagger_tf.config.quoting import readable
from cosmictagger_tf.detector import CLASS_NAMES
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.files import make_place, replaced_file, write_json
from cosmictagger_tf.inference.evaluate.evaluate_run import Evaluation
from cosmictagger_tf.inference.evaluate.event_cut import pass_rates
from cosmictagger_tf.runs import RunFolder
from cosmictagger_tf.training.metrics import METRICS, metrics_from_counts, plane_key


def report_place(options: EvaluateConfig, output: OutputConfig, weights: WeightsConfig) -> Path | None:
    """Where the HTML file goes: where --report says, or into the folder of the run whose weights they are; None
    where there is no such folder.

    Raises:
        ConfigError: it cannot be written there.
    """
    folder = RunFolder(output).path
    if not options.report and not (weights.of_run and folder.is_dir()):
        return None
    place = Path(options.report) if options.report else folder / "evaluation.html"
    if place.stem in ("run", "history") and (place.parent / "run.json").exists():
        raise ConfigError(f"--report={place}: its tables would replace the run's own files; give another name")
    for path in (place, place.with_suffix(".json"), place.with_suffix(".csv")):
        make_place(path, "report")
    return place


def write_evaluation(found: Evaluation, options: EvaluateConfig, base: Path) -> list[Path]:
    """Writes the HTML file at `base`, and JSON and CSV beside it; returns their paths."""
    paths = [base.with_suffix(".json"), base.with_suffix(".csv")]
    write_json(paths[0], describe(found, options))
    write_events(found, paths[1])
    if options.html:
        from cosmictagger_tf.inference.evaluate.report_page import write_report

        paths.append(base)
        write_report(found, options, base)
    return paths


def describe(found: Evaluation, options: EvaluateConfig) -> dict:
    """Every number of an evaluation, for JSON; what there is no number for is null, and named beside it."""
    curves = {"all": found.histogram.curve()}
    curves |= {f"plane{p}": found.histogram.curve(p) for p in range(found.histogram.planes)}
    record = {
        "files": [readable(file) for file in found.reader.files],
        "events": len(found.table.entries),
        "weights": readable(str(found.trained.weights)),
        "step": found.trained.step,
        "background_shift": found.trained.background_shift,
        "downsample": found.trained.data.downsample,
        "metrics": found.table.summary(),
        "absent_in_truth": found.table.absent(),
        "intervals_95": {name: list(ends) for name, ends in found.intervals.items()},
        "bootstrap": options.bootstrap,
        "confusion": found.table.counts.sum(axis=0).tolist(),
        "neutrino_score": {
            name: {"auc": c.auc, "auc_error": c.auc_error, "average_precision": c.average_precision, "lacks": c.lacks}
            for name, c in curves.items()
        },
        "event_cut": pass_rates(found.cut, found.neutrinos),
        "bins": {title: [asdict(bin) for bin in bins] for title, bins in found.bins.items()},
        **execution.describe(),
    }
    return _without_nan(record)


def write_events(found: Evaluation, path: Path):
    """The CSV file: ids, truth, event cut, loss, absent classes, metrics by plane and averaged, confusion counts."""
    planes = range(found.histogram.planes)
    metrics = metrics_from_counts(found.table.counts)
    with replaced_file(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = None
        for i, entry in enumerate(found.table.entries):
            run, subrun, event = found.event_ids[i]
            neutrino = found.neutrinos[i] if found.neutrinos is not None else None
            line: dict[str, Any] = {"entry": int(entry), "run": run, "subrun": subrun, "event": event}
            line |= {"neutrino_energy_gev": neutrino.energy if neutrino else ""}
            line |= {
                "neutrino_flavour": neutrino.flavour if neutrino else "",
                "neutrino_pdg": neutrino.pdg if neutrino else "",
            }
            line |= {"passes_cut": int(found.cut.passed[i]), "drift_difference": _number(found.cut.difference[i])}
            line |= {"loss": _number(found.table.losses[i])}
            absent = found.table.counts[i].sum(axis=-1) == 0
            line["absent_in_truth"] = " ".join(plane_key(CLASS_NAMES[c], p) for p, c in np.argwhere(absent))
            line |= {name: _number(metrics[name][i].mean()) for name in METRICS}
            line |= {plane_key(name, p): _number(metrics[name][i, p]) for name in METRICS for p in planes}
            for p in planes:
                line[f"predicted_neutrino_pixels/plane{p}"] = int(found.details.neutrino_pixels[i, p])
                line[f"mean_row/plane{p}"] = _number(found.details.mean_rows[i, p])
                line |= {
                    f"{true}_as_{called}/plane{p}": int(found.table.counts[i, p, t, c])
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
