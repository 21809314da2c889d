"""The selections of an evaluation: in JSON, in the table, and as text."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from cosmictagger_tf.calibration.probabilities import neutrino_probability
from cosmictagger_tf.config import EvaluateConfig, NetworkConfig, ReadoutsConfig
from cosmictagger_tf.config.cuts import QUANTITIES, parse_cuts
from cosmictagger_tf.data.neutrino import Neutrino
from cosmictagger_tf.detector import EVENT_CLASS_NAMES
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.figures import new_figure
from cosmictagger_tf.inference.evaluate.details import EventDetails, given_quantities
from cosmictagger_tf.inference.evaluate.report_page import _selection
from cosmictagger_tf.inference.evaluate.report_plots import selection
from cosmictagger_tf.inference.evaluate.selection_results import (
    class_confusion,
    describe_selections,
    selection_columns,
    selections,
)
from cosmictagger_tf.inference.evaluate.selection_text import selection_lines
from cosmictagger_tf.inference.evaluate.true_readouts import TrueReadouts
from cosmictagger_tf.inference.table_file import write_table

NUE, NC = Neutrino(1.1, 12, 0, outgoing=(11, 2212)), Neutrino(2.5, 14, 1, outgoing=(14, 211))
CUTS = parse_cuts("pixels>5,rows<=50;pixels>10;probability>0.5")
# Two nue CC, an NC, one of two neutrinos, four with cosmic rays only.
TRUTH = TrueReadouts.of([(NUE,), (NUE,), (NC,), (NUE, NC), (), (), (), ()], [90, 90, 90, 90, 0, 0, 0, 0])


@pytest.fixture
def details() -> EventDetails:
    """Of the readouts of TRUTH, with both heads; one nue CC and the NC have few pixels, as two of the cosmic ones."""
    pixels = np.array([40, 3, 3, 50, 30, 8, 2, 0])[:, None] + np.array([0, 10, 20])
    pixels[7] = 0
    rows = np.where(pixels > 0, 100.0 + np.array([0, 1, 4]), np.nan)
    scores = np.full((8, 4), 0.1)
    scores[[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 0, 3, 3, 0, 3]] = 0.7
    primaries = np.zeros((8, 4), np.int64)
    primaries[4] = (0, 3, 20, 0)
    primaries[5] = (0, 0, 1, 9)
    vertex_rows = np.array([1.0, 2, 3, 4, 5, np.nan, 7, np.nan])
    return EventDetails(
        pixels,
        rows,
        rows,
        np.array([90] * 4 + [0] * 4),
        primaries,
        scores,
        scores.argmax(axis=1),
        vertex_rows,
        vertex_rows / 9,
    )


def test_every_number_is_in_the_record(details):
    record = describe_selections(selections(details, TRUTH, CUTS, 0.1))
    json.dumps(record)
    assert record["readouts"] == {"NC with a pion": 1, "cosmic rays only": 4, "nue CC": 2}
    assert record["unknown"] == 1 and record["prior"] == 0.1
    # The one of unknown class may be of these.
    assert record["absent_in_truth"] == []
    first, second, third = record["cuts"]
    assert [one["cut"] for one in record["cuts"]] == ["pixels>5,rows<=50", "pixels>10", "probability>0.5"]
    assert first["cosmic_only"]["rate"] == 0.5 and second["cosmic_only"]["rate"] == 0.25
    assert second["efficiency"]["kind"]["nue CC"]["rate"] == 0.5
    assert second["efficiency"]["kind"]["numu CC"] is None
    assert second["efficiency"]["final state"] == {"nue CC nucleons alone": second["efficiency"]["kind"]["nue CC"]}
    assert first["cosmic_only_made_of"] == {"none": 0, "muon": 0, "shower": 1, "proton": 1}
    assert third["cosmic_only"]["rate"] == 0.25 and third["efficiency"]["kind"]["with a neutrino"]["rate"] == 1
    assert third["purity"]["purity"] == pytest.approx(0.1 / (0.1 + 0.9 * 0.25))
    # None of four may be kept: what has more than any of them is left.
    points = record["at_most_kept"]
    assert [one["cut"] for one in points["pixels"]] == ["pixels>30"] * 3
    assert [one["share"] for one in points["probability"]] == [0.01, 0.02, 0.04]
    last = record["curves"]["pixels"][-1]
    assert last["cosmic_only"]["rate"] == last["efficiency"]["kind"]["nue CC"]["rate"] == 1


def test_the_class_that_the_event_head_gives(details):
    counts = class_confusion(TRUTH.classes, details.called_classes)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 3]]
    record = describe_selections(selections(details, TRUTH, CUTS, 0.0))["event_class"]
    assert record["confusion"] == counts.tolist()
    assert record["event_accuracy"] == pytest.approx(5 / 7)
    assert record["event_balanced_accuracy"] == pytest.approx((0.5 + 1 + 0.75) / 3)
    assert record["right"]["nue_cc"]["rate"] == 0.5 and record["right"]["numu_cc"] is None


def test_the_probability_is_to_the_last_digit_that_of_the_calibrations_thresholds(details):
    scores = np.random.default_rng(0).dirichlet(np.ones(4), 8)
    given = replace(details, class_scores=scores).quantities()["probability"]
    np.testing.assert_array_equal(given, neutrino_probability(scores))


def test_what_is_printed(details):
    lines = selection_lines(selections(details, TRUTH, CUTS, 0.1))
    text = "\n".join(lines)
    assert lines[:2] == [
        "selection of readouts",
        "1 readout with neutrino pixels, but of unknown class, left out: 1 of several neutrinos, of none, or of one "
        "without a class",
    ]
    assert "  cosmic rays only                 4    50.0%   15.0% to 85.0%" in lines
    assert "  those kept are mostly of: shower 1, proton 1" in lines
    assert "at most 1.0% of cosmic rays only (0.00%): pixels>30: with a neutrino 33.3%, nue CC 50.0%" in text
    assert "  purity at a prior of 0.1" in text
    assert "class by the event head: right 71.4%, at equal priors of the classes that there are 75.0%" in lines
    assert "nan" not in text and "None" not in text


def test_a_set_without_a_side_of_the_selection_says_so(details):
    untold = TrueReadouts.of([None] * 8, [90] * 8)
    for truth in (untold, TrueReadouts.of([(NUE,)] * 8, [90] * 8), TrueReadouts.of([()] * 8, [0] * 8)):
        results = selections(details, truth, CUTS, 0.1)
        text = "\n".join(selection_lines(results))
        assert "nan" not in text and "the truth has none of: " in text
        lack = "readouts of known class lack" if truth is untold else "the truth lacks"
        assert f"no purity: {lack} a side of it" in text
        assert "NaN" not in json.dumps(describe_selections(results)["cuts"])
    text = "\n".join(selection_lines(selections(details, untold, CUTS, 0.0)))
    # They have neutrino pixels.
    assert "the truth has none of: cosmic rays only\n8 readouts with neutrino pixels, but of unknown class, " in text
    assert "left out: 8 whose neutrinos no file tells: see --producer_particle\n" in text
    assert "class by the event head: the truth has no readout of known class" in text


def test_a_network_without_heads_and_a_file_that_tells_no_primaries(details):
    plain = replace(details, primaries=None, class_scores=None, called_classes=None, vertex_rows=None)
    results = selections(plain, TRUTH, CUTS[:2], 0.0)
    record = describe_selections(results)
    assert record["event_class"] is None and list(record["at_most_kept"]) == ["pixels"]
    assert record["cuts"][0]["cosmic_only_made_of"] is None and record["cuts"][0]["purity"] is None
    assert "event head" not in "\n".join(selection_lines(results))
    assert not {"called_class", "probability", "vertex_rows"} & set(selection_columns(results, plain))


def test_the_table_has_a_line_an_event(details, tmp_path):
    columns = selection_columns(selections(details, TRUTH, CUTS, 0.0), details)
    assert {len(values) for values in columns.values()} == {8}
    assert columns["true_kind"].tolist()[2:5] == ["NC with a pion", None, "cosmic rays only"]
    assert columns["called_class"].tolist()[:3] == ["nue_cc", "numu_cc", "nc"]
    assert columns["passes pixels>10"].tolist() == [True, False, False, True, True, False, False, False]
    assert columns["pixels"].tolist() == [40, 3, 3, 50, 30, 8, 2, 0]
    assert [f"probability/{name}" in columns for name in EVENT_CLASS_NAMES] == [True] * 4
    write_table(columns, tmp_path / "events.csv")
    assert "nan" not in (tmp_path / "events.csv").read_text()


def test_the_quantities_are_those_that_a_network_gives(details):
    both = given_quantities(NetworkConfig(event_head=True, vertex_head=True))
    assert both == set(details.quantities()) == set(QUANTITIES)
    assert given_quantities(NetworkConfig()) == {"pixels", "rows"}
    np.testing.assert_allclose(details.quantities()["probability"], [0.9, 0.9, 0.9, 0.9, 0.3, 0.3, 0.9, 0.3])


def test_events_that_ranks_shared_are_joined(details):
    parts = [details.reordered(np.arange(8)[part]) for part in (slice(0, 3), slice(3, 8))]
    for name, values in vars(EventDetails.join(parts)).items():
        np.testing.assert_array_equal(values, getattr(details, name))
    plain = replace(details, primaries=None)
    assert EventDetails.join([plain, plain]).primaries is None


def test_flags_of_evaluate_are_checked_before_anything_is_read():
    for kind, wrong, line in (
        (EvaluateConfig, {"cut": "pixels"}, "--cut: 'pixels' is no condition"),
        (ReadoutsConfig, {"prior": 1.5}, "--prior=1.5: must be at most 1.0"),
        (ReadoutsConfig, {"table": "events.xlsx"}, "--table=events.xlsx: must end in .csv or .parquet"),
    ):
        with pytest.raises(ConfigError) as refused:
            kind(**wrong)
        assert str(refused.value).startswith(line)
    assert EvaluateConfig().cuts == () and len(EvaluateConfig(cut="pixels>5;pixels>10").cuts) == 2


def test_the_report_has_the_curve_of_each_kind_and_the_text(details):
    page = _selection(selections(details, TRUTH, CUTS, 0.1))
    assert page.count("<svg") == 1 and "pixels&gt;5,rows&lt;=50" in page and "nan" not in re.sub("<path.*?/>", "", page)
    results = selections(details, TRUTH, CUTS, 0.1)
    _, axes = new_figure(1, 2, (6, 3))
    selection(axes[0], results.curves)
    assert [axis.get_title() for axis in axes[0]] == ["probability", "pixels"]
    kinds = ["with a neutrino", "nue CC", "NC with a pion"]
    assert [[line.get_label() for line in axis.lines] for axis in axes[0]] == [kinds, kinds]
    kept, efficient = axes[0, 1].lines[0].get_data()
    assert list(kept) == sorted(kept) and list(efficient) == sorted(efficient) and efficient[-1] == 1
    without = selections(details, TrueReadouts.of([(NUE,)] * 8, [90] * 8), CUTS, 0.1)
    assert "<svg" not in _selection(without) and "the truth has none of" in _selection(without)
