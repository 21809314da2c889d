"""evaluate: what is worked out beside the metrics, and its files."""

import csv
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from cosmictagger_tf.calibration.working_points import Calibration
from cosmictagger_tf.config import EvaluateConfig
from cosmictagger_tf.data.batch import labels_at_pixels
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.detector import NEUTRINO, ImageShape
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.figures import new_figure
from cosmictagger_tf.inference.evaluate.breakdown import breakdowns
from cosmictagger_tf.inference.evaluate.curves import Curve, ScoreHistogram
from cosmictagger_tf.inference.evaluate.details import EventDetails, details_of
from cosmictagger_tf.inference.evaluate.evaluate_run import check_geometry
from cosmictagger_tf.inference.evaluate.evaluation_files import write_events
from cosmictagger_tf.inference.evaluate.event_cut import EventCut, apply_cut, event_cut, pass_rates
from cosmictagger_tf.inference.evaluate.head_details import HeadReader
from cosmictagger_tf.inference.evaluate.intervals import _weighted_summary, bootstrap_intervals
from cosmictagger_tf.inference.evaluate.rates import rate
from cosmictagger_tf.inference.evaluate.reliabilities import reliabilities
from cosmictagger_tf.inference.evaluate.report import metrics_table, report_text
from cosmictagger_tf.inference.evaluate.report_page import _metrics, _score
from cosmictagger_tf.inference.evaluate.report_plots import curves
from cosmictagger_tf.inference.evaluate.selection_results import selections
from cosmictagger_tf.inference.evaluate.true_readouts import TrueReadouts
from cosmictagger_tf.training.evaluation import EventTable
from tests.commands import refusal, run_module


def random_table(events, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 200, (events, 3, 3, 3))
    return EventTable(np.arange(events), rng.random(events).astype(np.float32), counts)


def test_the_curves_are_the_exact_ones_within_the_bins():
    rng = np.random.default_rng(1)
    labels = rng.choice(3, 3000, p=[0.6, 0.3, 0.1])
    scores = (1 / (1 + np.exp(-rng.normal(np.where(labels == NEUTRINO, 1.0, -1.5), 1.5)))).astype(np.float32)
    histogram = ScoreHistogram(2)
    for part in np.split(np.arange(3000), 10):
        histogram.fill(1, scores[part], labels[part])
    curve = histogram.curve(1)
    positive, negative = scores[labels == NEUTRINO], scores[labels != NEUTRINO]
    exact = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
    assert abs(curve.auc - exact) <= curve.auc_error + 1e-12 < 1e-3
    ranked = labels[np.argsort(-scores, kind="stable")] == NEUTRINO
    average = (np.cumsum(ranked) / np.arange(1, 3001))[ranked].mean()
    assert curve.average_precision == pytest.approx(average, abs=3e-3)
    at = np.searchsorted(-curve.thresholds, -0.5)
    assert curve.true_positive_rate[at] == pytest.approx((positive > 0.5).mean(), abs=5e-3)
    assert np.isnan(histogram.curve(0).auc)
    both = histogram.curve()
    assert both.auc == curve.auc
    histogram.fill(0, np.float32([0.0, 1.0]), np.array([0, NEUTRINO]))
    assert histogram.counts[0, 0, 0] == histogram.counts[0, -1, NEUTRINO] == 1


def test_intervals_have_the_width_of_the_standard_error_and_a_seed():
    table = random_table(400)
    once = _weighted_summary(table, np.ones((1, 400), np.int64))
    for name, value in table.summary().items():
        assert once[name][0] == pytest.approx(value, abs=1e-6), name
    intervals = bootstrap_intervals(table, 1000, seed=3)
    assert intervals == bootstrap_intervals(table, 1000, seed=3) != bootstrap_intervals(table, 1000, seed=4)
    low, high = intervals["loss"]
    assert (high - low) == pytest.approx(2 * 1.96 * table.losses.std() / 20, rel=0.12)
    assert low < table.summary()["loss"] < high
    assert bootstrap_intervals(table, 0, 0) == {}


def batch_of(image, label):
    # One event, one plane; image and label are lists of (row, column, value).
    pad = [(-1, -1, 0)]
    arrays = {name: np.array([[pixels + pad]]) for name, pixels in (("image", image), ("label", label))}
    batch = {f"{name}_coordinates": array[..., :2].astype(np.int32) for name, array in arrays.items()}
    batch |= {f"{name}_values": array[..., 2] for name, array in arrays.items()} | {"entries": np.array([4])}
    return batch | {"labels": labels_at_pixels(batch)}


def scored(scores):
    return {"pixel_scores": scores, "pixel_probabilities": scores[..., NEUTRINO]}


def test_labels_are_found_at_the_images_pixels():
    batch = batch_of([(1, 5, 7.0), (2, 2, 9.0), (3, 3, 1.0)], [(2, 2, 2), (1, 5, 1)])
    np.testing.assert_array_equal(labels_at_pixels(batch)[0, 0], [1, 2, 0, 0])


def test_details_are_in_full_resolution_rows():
    batch = batch_of([(0, 5, 7.0), (2, 2, 9.0), (3, 3, 1.0)], [(0, 5, 1), (2, 2, 2), (3, 3, 2)])
    scores = np.float32([[[[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6], [0, 0, 1]]]])
    histogram = ScoreHistogram(1)
    details = details_of(batch, scored(scores), HeadReader(ImageShape(1, 16, 32), 2), histogram)
    assert details.neutrino_pixels.tolist() == [[2]]
    assert details.true_pixels.tolist() == [2]
    assert (details.primaries, details.class_scores, details.vertex_rows) == (None, None, None)
    assert details.mean_rows.tolist() == [[11.5]]  # rows 8 to 11 and 12 to 15
    assert histogram.counts.sum(axis=(0, 1)).tolist() == [0, 1, 2]


def test_sets_with_readouts_of_cosmic_rays_alone_have_the_iou_of_the_others_too():
    table = random_table(30)
    table.counts[::3, :, NEUTRINO] = 0
    summary, intervals = table.summary(), bootstrap_intervals(table, 200, 0)
    low, high = intervals["neutrino_iou_where_present"]
    assert low < summary["neutrino_iou_where_present"] < high
    once = _weighted_summary(table, np.ones((1, 30), np.int64))
    assert once.keys() == summary.keys()
    line = next(line for line in metrics_table(table, intervals).splitlines() if line.startswith("neutrino IoU, with"))
    assert f"{summary['neutrino_iou_where_present']:.5f}" in line and f"{low:.5f} to {high:.5f}" in line
    evaluation = SimpleNamespace(table=table, intervals=intervals, histogram=ScoreHistogram(3))
    assert "<td>neutrino IoU, with one</td>" in _metrics(evaluation, EvaluateConfig())
    assert "told apart" not in metrics_table(table) and "neutrino_iou_where_present" not in random_table(9).summary()


def test_the_event_cut_wants_pixels_in_every_plane_and_one_time():
    rows = np.array([[100.0, 110, 105], [100, 110, 190], [100, 110, np.nan], [1, 2, 3]])
    details = EventDetails(np.array([[6, 9, 6], [9, 9, 9], [9, 9, 0], [5, 9, 9]]), rows, rows, np.zeros(4))
    assert apply_cut(details, 5, 50.0).passed.tolist() == [True, False, False, False]
    assert apply_cut(details, 5, 90.0).passed.tolist() == [True, True, False, False]
    assert rate(np.array([True] * 8 + [False] * 2)) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert np.isnan(rate(np.zeros(0, bool))).all()


def test_breakdowns_hold_every_event_once():
    table = random_table(50)
    neutrinos = [Neutrino(0.1 * i, 14 if i % 2 else -12, int(i % 5 == 0)) if i % 7 else None for i in range(50)]
    truth = TrueReadouts.of([(n,) if n else () for n in neutrinos], [90 if n else 0 for n in neutrinos])
    bins = breakdowns(table, truth, np.arange(50) % 2 == 0)
    assert sum(b.events for b in bins["neutrino energy (GeV)"]) == sum(n is not None for n in neutrinos)
    assert [b.name for b in bins["kind"]] == ["NC of unknown final state", "cosmic rays only", "nue CC", "numu CC"]
    assert sum(b.events for b in bins["kind"]) == 50
    by_pixels = ["neutrino pixels, all planes", "cosmic pixels, all planes"]
    assert all(sum(b.events for b in bins[title]) == 50 for title in by_pixels)
    assert list(breakdowns(table, TrueReadouts.of([None] * 50, [90] * 50), np.ones(50, bool))) == by_pixels
    one = EventTable(table.entries[:1], table.losses[:1], table.counts[:1])
    alone = breakdowns(one, TrueReadouts.of([None], [90]), np.ones(1, bool))
    assert [b.events for b in alone["cosmic pixels, all planes"]] == [1]


def test_energies_that_no_bin_holds_leave_no_title_without_bins():
    truth = TrueReadouts.of([(Neutrino(-1.0, 14, 0),), ()], [90, 0])
    negative = breakdowns(random_table(2), truth, np.ones(2, bool))
    assert all(negative.values()) and "neutrino energy (GeV)" not in negative and "kind" in negative


def test_neutrinos_of_which_nothing_is_known_are_no_background():
    """Neither those of a file without the particle product nor several in a readout count as without a neutrino, or by
    the first of them."""
    nue, numu = Neutrino(1.0, 12, 0), Neutrino(2.0, 14, 0)
    truth = TrueReadouts.of([(nue,), (numu, nue), None, ()], [90, 90, 90, 0])
    passed = np.array([True, True, True, False])
    rates = pass_rates(EventCut(passed, np.zeros(4), passed), truth)
    assert {name: one["events"] for name, one in rates.items() if name.startswith("both, ")} == {
        "both, cosmic rays only": 1,
        "both, nue CC": 1,
        "both, unknown": 2,
    }
    assert rates["both, cosmic rays only"]["rate"] == 0
    bins = breakdowns(random_table(4), truth, passed)
    assert {b.name: b.events for b in bins["kind"]} == {"cosmic rays only": 1, "nue CC": 1, "unknown": 2}
    assert [b.events for b in bins["neutrino energy (GeV)"]] == [1]


@pytest.mark.filterwarnings("error")
def test_events_without_pixels_warn_of_nothing():
    counts = np.zeros((4, 3, 3, 3), np.int64)
    counts[..., 0, 0] = 2048
    table, histogram = EventTable(np.arange(4), np.zeros(4, np.float32), counts), ScoreHistogram(3)
    batch = batch_of([], [])
    batch = {name: np.repeat(array, 3, axis=1) if array.ndim > 1 else array for name, array in batch.items()}
    scores = np.zeros((1, 3, batch["image_coordinates"].shape[2], 3), np.float32)
    details = EventDetails.join(
        [details_of(batch, scored(scores), HeadReader(ImageShape(1, 16, 32), 1), histogram)] * 4
    )
    cut = apply_cut(details, 5, 50.0)
    assert not cut.passed.any() and np.isnan(cut.difference).all() and rate(cut.passed)[0] == 0
    assert histogram.counts.sum() == 0 and np.isnan(histogram.curve().average_precision)
    assert table.summary()["neutrino_iou"] == 1
    assert bootstrap_intervals(table, 50, 0)["neutrino_iou"] == (1, 1)
    for bins in breakdowns(table, TrueReadouts.of([()] * 4, [0] * 4), cut.passed).values():
        assert [b.events for b in bins] == [4]


def test_evaluate_writes_a_report_a_table_and_every_number(run, simulated_file, tmp_path):
    report = tmp_path / "reports" / "here.html"
    table = tmp_path / "tables" / "events.csv"
    options = [f"--report={report}", "--bootstrap=50", f"--table={table}", "--cut=pixels>=0;pixels>9,rows<5"]
    done = run_module("evaluate", *run, f"--file={simulated_file}", *options)
    assert "95 % interval" in done.stdout and "event cut: " in done.stdout and f"written: {report}" in done.stdout
    numbers = json.loads(report.with_suffix(".json").read_text())
    with open(report.with_suffix(".csv"), newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["entry"]) for line in lines] == list(range(10))
    assert all(line["neutrino_flavour"] and line["true_kind"] for line in lines)
    iou = np.mean([float(line["neutrino_iou"]) for line in lines])
    assert iou == pytest.approx(numbers["metrics"]["neutrino_iou"], abs=1e-5)
    counts = sum(int(line["neutrino_as_cosmic/plane1"]) for line in lines)
    assert counts == numbers["confusion"][1][2][1]
    low, high = numbers["intervals_95"]["cosmic_iou/plane2"]
    assert low <= numbers["metrics"]["cosmic_iou/plane2"] <= high
    assert f"written: {table}" in done.stdout
    selection = numbers["selection"]
    assert [one["cut"] for one in selection["cuts"]] == ["pixels>5,rows<=50", "pixels>=0", "pixels>9,rows<5"]
    assert selection["absent_in_truth"][-1] == "cosmic rays only" and "cosmic rays only" not in selection["readouts"]
    everything = selection["cuts"][1]["efficiency"]["kind"]["with a neutrino"]
    assert everything["events"] == sum(selection["readouts"].values()) == 10 and everything["rate"] == 1
    with open(table, newline="") as file:
        readouts = list(csv.DictReader(file))
    for line, readout in zip(lines, readouts, strict=True):
        assert line["passes_cut"] == readout["passes pixels>5,rows<=50"] and readout["passes pixels>=0"] == "1"
        assert line["predicted_neutrino_pixels/plane2"] == readout["predicted_neutrino_pixels/plane2"]
        assert float(line["neutrino_energy_gev"]) == pytest.approx(float(readout["true_neutrino_energy_gev"]))
    page = report.read_text()
    for title in (
        "Confusion matrices",
        "Neutrino score",
        "By neutrino energy",
        "By kind",
        "Event cut",
        "Selection of readouts",
        "Best, median",
    ):
        assert title in page
    assert page.count("<svg") >= 10
    loaded = re.findall(r'(?:src|href)="(?!#|data:)[^"]*"|url\((?!#)[^)]*\)|@import|<script|<link', page)
    assert not loaded, loaded


def test_planes_cannot_agree_where_their_geometry_is_not_known():
    config = EvaluateConfig(cut="pixels>5; vertex_agreement>0.01")
    check_geometry(config, ImageShape())
    with pytest.raises(ConfigError, match=r"--cut=vertex_agreement>0.01: .*1408 rows"):
        check_geometry(config, ImageShape(3, 1408, 2048))


def test_evaluate_refuses_what_it_cannot_do(run, unlabelled_file, tmp_path):
    assert "no label product" in refusal("evaluate", *run, f"--file={unlabelled_file}")
    assert "must end in .html" in refusal("evaluate", *run, f"--report={tmp_path}/x.pdf")
    assert "this network gives no probability" in refusal("evaluate", *run, "--cut=probability>0.5")
    (tmp_path / "run.json").touch()
    assert "the run's own files" in refusal("evaluate", *run, f"--report={tmp_path}/run.html")
    assert "the run's own files" in refusal("evaluate", *run, f"--report={tmp_path}/history.html")
    (tmp_path / "x.csv").mkdir()
    assert "x.csv is a folder" in refusal("evaluate", *run, f"--report={tmp_path}/x.html")


def test_what_is_said_of_a_skipped_events_neighbours_is_theirs(run, simulated_file, tmp_path):
    damaged = tmp_path / "damaged.h5"
    shutil.copy(simulated_file, damaged)
    with h5py.File(damaged, "a") as file:
        file["Data/sparse2d_sbndwire_group/voxels"][100, "id"] = 1 << 40
    for name, path in (("whole", simulated_file), ("damaged", damaged)):
        flags = [f"--file={path}", f"--report={tmp_path}/{name}.html", "--nohtml", "--skip_bad_events=1"]
        run_module("evaluate", *run, *flags)
    whole, rest = ((tmp_path / f"{name}.csv").read_text().splitlines() for name in ("whole", "damaged"))
    assert rest == [whole[0], *whole[2:]]


def test_a_class_that_the_truth_lacks_is_named_and_has_no_number(tmp_path):
    table = random_table(4)
    assert table.absent() == {} and table.absent_lines() == []
    table.counts[:, 1, NEUTRINO] = 0
    assert table.absent() == {"neutrino": [1]}
    assert table.absent_lines() == ["no neutrino pixel in the truth of plane 1: its metrics there mean nothing"]
    table.counts[:, :, NEUTRINO] = 0
    histogram = ScoreHistogram(3)
    histogram.fill(0, np.float32([0.1, 0.7]), np.array([0, 1]))
    details = EventDetails(*(np.zeros((4, 3)) for _ in range(3)), np.zeros(4, np.int64))
    evaluation = SimpleNamespace(
        table=table,
        histogram=histogram,
        intervals=bootstrap_intervals(table, 20, 0),
        cut=apply_cut(details, 5, 50.0),
        details=details,
        selection=selections(details, TrueReadouts.of([None] * 4, [0] * 4), (event_cut(5, 50.0),), 0.0),
        event_ids=[(0, 0, i) for i in range(4)],
        neutrinos=[None] * 4,
        points=None,
        reliability=reliabilities(table, replace(details, reliability=np.zeros((4, 15, 3))), Calibration(), 20, 0),
        vertices=None,
    )
    text = report_text(evaluation)
    assert "nan" not in text and "no neutrino pixel in the truth: its metrics there mean nothing" in text
    assert "neutrino score of the stored pixels: no neutrino pixel in the truth" in text
    assert "calibration error of pixels: none is there" in text and "with and without a neutrino" not in text
    write_events(evaluation, tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["true_kind"] for line in lines} == {"cosmic rays only"}
    assert lines[0]["absent_in_truth"] == "neutrino/plane0 neutrino/plane1 neutrino/plane2"
    assert "nan" not in (tmp_path / "a.csv").read_text()
    page = _score(evaluation) + _metrics(evaluation, EvaluateConfig())
    assert "there is no area: no neutrino pixel in the truth" in page and "<p class=note>no neutrino pixel" in page
    assert "nan" not in re.sub(r"<path.*?/>", "", page)
    _, axes = new_figure(1, 2, (6, 3))
    curves(axes[0], histogram)
    assert {line.get_label() for line in axes[0, 0].lines} == {
        "plane 0, no neutrino pixel",
        "plane 1, no neutrino pixel",
        "plane 2, no neutrino pixel",
        "all planes, no neutrino pixel",
    }
    assert Curve(np.array([3]), np.array([0])).lacks == "no other pixel" and not Curve(np.ones(2), np.ones(2)).lacks


def test_one_event_has_no_intervals():
    assert bootstrap_intervals(random_table(1), 100, 0) == {}
    assert bootstrap_intervals(random_table(2), 100, 0)
