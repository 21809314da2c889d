"""A table with a line an event, for other programs: as CSV, or as Parquet where pyarrow is installed."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from cosmictagger_tf.errors import ConfigError, MissingPackageError
from cosmictagger_tf.files import make_place, replaced_file
from cosmictagger_tf.runs import is_file_of_run

PARQUET = ".parquet"


def check_table(table: str, report: Iterable[Path] = ()):
    """Raises ConfigError where a table of this name would replace a file of a run, or one of the report's files."""
    if is_file_of_run(Path(table)):
        raise ConfigError(f"--table={table}: would replace the run's own files; give another name")
    if Path(table).resolve() in {path.resolve() for path in report}:
        raise ConfigError(f"--table={table}: is one of the report's files, too; give another name")


def table_place(table: str) -> Path | None:
    """Where a table of this name goes; None of no name. Its folder is made.

    Raises:
        ConfigError: it cannot be written there, or a file of a run is.
        MissingPackageError: it ends in .parquet, and pyarrow is not installed.
    """
    if not table:
        return None
    check_table(table)
    if table.endswith(PARQUET):
        _pyarrow()
    make_place(Path(table), "table")
    return Path(table)


def write_table(columns: Mapping[str, np.ndarray], path: Path):
    """Writes a table to a file that is complete or absent.

    What is NaN, or None, has no value: it is empty in CSV and null in Parquet. In CSV, true is 1 and false 0.

    Args:
        columns: by name, [events]: numbers, booleans, or objects that are strings or None.
        path: ends in .csv or .parquet.

    Raises:
        MissingPackageError: it ends in .parquet, and pyarrow is not installed.
        WriteError: the disk is full, or forbids it.
    """
    if path.suffix == PARQUET:
        pyarrow, parquet = _pyarrow()
        table = pyarrow.table({name: pyarrow.array(values, from_pandas=True) for name, values in columns.items()})
        with replaced_file(path) as beside:
            parquet.write_table(table, beside)
        return
    with replaced_file(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*map(_texts, columns.values()), strict=True))


def _texts(values):
    # str of a number of numpy's is the shortest text that reads back as the same.
    numbers = values.astype(np.int64) if values.dtype.kind == "b" else values
    return ["" if value is None or value != value else str(value) for value in numbers]


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        command = "pip install 'cosmictagger_tf[parquet]'"
        raise MissingPackageError("pyarrow", f"--table=NAME{PARQUET}", command, error) from None
    return pyarrow, pyarrow.parquet
