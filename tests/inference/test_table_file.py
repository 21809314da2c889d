"""Tables with a line an event."""

import csv
import sys

import numpy as np
import pytest
from pyarrow import parquet

from cosmictagger_tf.errors import ConfigError, MissingPackageError
from cosmictagger_tf.inference.table_file import check_table, table_place, write_table

COLUMNS = {
    "entry": np.array([0, 7, 1 << 40]),
    "kind": np.array(["nue CC", "NC, or not", None], object),
    "probability": np.float32([0.1, np.nan, 1.0]),
    "passes pixels>5,rows<50": np.array([True, False, True]),
}


def test_csv_has_a_line_an_event_and_nothing_where_there_is_no_value(tmp_path):
    write_table(COLUMNS, tmp_path / "events.csv")
    with open(tmp_path / "events.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        list(COLUMNS),
        ["0", "nue CC", "0.1", "1"],
        ["7", "NC, or not", "", "0"],
        [str(1 << 40), "", "1.0", "1"],
    ]


def test_numbers_in_csv_read_back_as_the_same(tmp_path):
    values = np.random.default_rng(0).random(50)
    write_table({"wide": values, "narrow": values.astype(np.float32)}, tmp_path / "events.csv")
    with open(tmp_path / "events.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal([float(row["wide"]) for row in rows], values)
    np.testing.assert_array_equal(np.float32([row["narrow"] for row in rows]), values.astype(np.float32))


def test_parquet_has_the_same_and_null_where_there_is_no_value(tmp_path):
    write_table(COLUMNS, tmp_path / "events.parquet")
    table = parquet.read_table(tmp_path / "events.parquet")
    assert table.column_names == list(COLUMNS)
    assert table["entry"].to_pylist() == [0, 7, 1 << 40]
    assert table["kind"].to_pylist() == ["nue CC", "NC, or not", None]
    assert table["probability"].to_pylist() == [np.float32(0.1), None, 1.0]
    assert table["passes pixels>5,rows<50"].to_pylist() == [True, False, True]
    assert {path.name for path in tmp_path.iterdir()} == {"events.parquet"}


def test_a_table_of_no_events_has_its_columns(tmp_path):
    write_table({name: values[:0] for name, values in COLUMNS.items()}, tmp_path / "events.csv")
    assert len((tmp_path / "events.csv").read_text().splitlines()) == 1


def test_parquet_without_pyarrow_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError) as refused:
        table_place(str(tmp_path / "new" / "events.parquet"))
    assert str(refused.value) == (
        "--table=NAME.parquet needs the package pyarrow, which is not installed: run `pip install "
        "'cosmictagger_tf[parquet]'`"
    )
    assert not (tmp_path / "new").exists()


def test_a_pyarrow_that_does_not_import_is_not_called_missing(tmp_path, monkeypatch):
    """As one that is too new for the NumPy beside it."""
    (tmp_path / "pyarrow").mkdir()
    (tmp_path / "pyarrow/__init__.py").write_text("raise ImportError('needs NumPy 2.0\\nor newer')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackageError, match=r"which cannot be imported \(needs NumPy 2.0 or newer\): run"):
        table_place(str(tmp_path / "events.parquet"))


def test_the_place_of_a_table(tmp_path):
    assert table_place("") is None
    assert table_place(str(tmp_path / "new" / "events.csv")) == tmp_path / "new" / "events.csv"
    assert (tmp_path / "new").is_dir()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=r"--table: .*folder\.csv is a folder"):
        table_place(str(tmp_path / "folder.csv"))


def test_a_table_takes_no_other_files_place(tmp_path):
    report = [tmp_path / name for name in ("evaluation.html", "evaluation.json", "evaluation.csv")]
    check_table(str(tmp_path / "events.csv"), report)
    with pytest.raises(ConfigError, match=r"evaluation.csv: is one of the report's files, too; give another name"):
        check_table(str(tmp_path / "folder/../evaluation.csv"), report)
    assert table_place(str(tmp_path / "history.csv")) is not None
    (tmp_path / "run.json").touch()
    with pytest.raises(ConfigError, match=r"--table=.*history.csv: would replace the run's own files"):
        table_place(str(tmp_path / "history.csv"))
