"""Rows that a caller has in memory become the data files of a run, so that evaluate, resume and compare find them later.

A table is taken for what it can do, whoever made it: pandas, polars, pyarrow and datasets need not be installed.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from debft.errors import InputError, shown
from debft.library.keywords import told_by_keywords
from debft.runs.directory import RunDirectory
from debft.runs.storage import write_atomically
from debft.tasks import TEXT

Rows: TypeAlias = Any
"""A list of dicts, a dict of columns, a DataFrame of pandas or polars, a table of pyarrow or a Dataset of datasets."""
EXPECTED = "a list of dicts, a dict of columns, a DataFrame or a Dataset"


def records_of(rows: Rows, where: str) -> list[dict[str, Any]]:
    """Return the rows as dicts of plain values, a missing one as None. where: what the caller calls them, `train`

    Raises InputError with a line for the first row that is none, `train[17]: ...`.
    """
    records = _records(rows, where)
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InputError(f"{where}[{number}]: expected a dict of a row's columns, got {shown(record)}")
    plain = [
        {str(key): _plain(value, f"{where}[{number}]: {key}") for key, value in record.items()}
        for number, record in enumerate(records)
    ]
    if not plain:
        raise InputError(f"{where}: expected rows, got none")
    return plain


def _records(rows: Rows, where: str) -> list[Any]:
    if isinstance(rows, list | tuple):
        return list(rows)
    if isinstance(rows, Mapping):
        return _of_columns(rows, where)
    if hasattr(rows, "columns") and hasattr(rows, "to_dict") and not hasattr(rows, "to_dicts"):  # pandas
        return list(rows.to_dict("records"))
    for name in ("to_dicts", "to_pylist"):  # polars, pyarrow
        if hasattr(rows, name):
            return list(getattr(rows, name)())
    if hasattr(rows, "column_names") and hasattr(rows, "features"):  # datasets
        return _of_dataset(rows)
    if isinstance(rows, Iterable) and not isinstance(rows, str | bytes):
        return list(rows)
    raise InputError(f"{where}: expected {EXPECTED}, got {shown(rows)}; a file goes to data=")


def _of_columns(columns: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Return the rows of a dict of columns. Raises InputError for columns of several lengths, and for a dict of splits."""
    for name, column in columns.items():
        if isinstance(column, str) or not (hasattr(column, "__len__") and hasattr(column, "__iter__")) or _is_table(column):
            raise InputError(f"{where}: expected {EXPECTED}, got a dict whose {name!r} is {shown(column)}, which is no column")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{where}: expected columns of one length, got {shown(lengths)}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _is_table(column: Any) -> bool:
    return isinstance(column, Mapping) or hasattr(column, "column_names") or hasattr(column, "columns")


def _of_dataset(rows: Any) -> list[dict[str, Any]]:
    """Return the rows of a Dataset of `datasets`; a label that it stores as a number gets its name, an unknown one (-1) none."""
    names = {column: feature.names for column, feature in rows.features.items() if hasattr(feature, "names")}
    named = []
    for row in rows:
        labels = {column: row[column] for column in names if isinstance(row[column], int)}
        named.append(row | {column: names[column][label] if label >= 0 else None for column, label in labels.items()})
    return named


def _plain(value: Any, where: str) -> Any:
    """Return a value as JSON has it. Raises InputError for an object that is no text, number or list of them."""
    if hasattr(value, "tolist") and not isinstance(value, str):  # NumPy's numbers and arrays
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list | tuple):
        return [_plain(part, where) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(part, where) for key, part in value.items()}
    if type(value).__name__ in ("NAType", "NaTType"):  # what pandas has for a missing value
        return None
    raise InputError(f"{where}: expected a text, a number or a list of them, got {shown(value)}; convert it first")


def as_lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Write rows as JSONL, a row a line, so that line 18 is `[17]`."""
    return "".join(json.dumps(record, ensure_ascii=True) + "\n" for record in records).encode("ascii")


class RowsOnDisk:
    """The splits that a caller gave are files in a directory beside the run, which has a digest of the rows in its name.

    Other rows have another directory: what an earlier run was trained on stays, and a run that goes on notices other rows.
    """

    def __init__(self, splits: Mapping[str, Rows]) -> None:
        self.files = {f"{name}.jsonl": as_lines(records_of(rows, name)) for name, rows in splits.items()}
        digest = hashlib.sha256()
        for name, content in self.files.items():
            digest.update(f"{name} {len(content)}\n".encode() + content)
        self.digest = digest.hexdigest()[:12]

    @contextmanager
    def written(self, run: Path) -> Iterator[Path]:
        """Write the files that are not there yet beside the run directory `run`, and give their directory.

        Where no run comes of it, what was written is gone again.
        """
        directory = run.with_name(f"{run.name}.rows-{self.digest}")
        made = [path for path in (directory, *directory.absolute().parents) if not path.exists()]
        for name, content in self.files.items():
            path = directory / name
            if not path.is_file() or path.read_bytes() != content:
                write_atomically(path, content)
        try:
            with told_by_keywords(self._places(directory)):
                yield directory
        finally:
            if made and not _is_of(run, directory):
                for name in self.files:
                    (directory / name).unlink()
                for path in made:
                    path.rmdir()

    def _places(self, directory: Path) -> dict[str, str]:
        """Return what the caller calls each file, by its path."""
        files = {str(directory / name): name.removesuffix(".jsonl") for name in self.files}
        return files | {f"--data {directory}": "train", str(directory): "the rows"}


def _is_of(run: Path, directory: Path) -> bool:
    """Tell whether there is a run that was trained on the files in `directory`."""
    written = RunDirectory(run)
    return written.exists() and written.recipe().data == str(directory)


def splits_and_shares(**given: Rows | float | None) -> tuple[dict[str, Rows], dict[str, float]]:
    """Return (rows by split, shares of the training rows to hold out) of `train`, `validation` and `test`."""
    shares = {name: value for name, value in given.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    return {name: value for name, value in given.items() if value is not None and name not in shares}, shares


def rows_to_write(task: str, splits: Mapping[str, Rows], keys: Mapping[str, Any]) -> RowsOnDisk | None:
    """Return the rows in memory, None where there are none. Raises InputError where they do not go with the other keywords."""
    if not splits:
        return None
    first = next(iter(splits))
    if task != TEXT.name:
        raise InputError(f"{first}: rows in memory are for the task text, got {task}; data= takes a directory of its files")
    if "data" in keys:
        raise InputError(f"data: does not go with {first}, which is where the rows are; leave one of them out")
    if "train" not in splits:
        raise InputError(f"train: expected rows beside those of {first}, got none")
    return RowsOnDisk(splits)
