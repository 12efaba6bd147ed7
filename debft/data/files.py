"""One table from one file: TSV, CSV, JSONL, JSON or Parquet, with the line of everything that is wrong.

TSV is read without quoting and without NA guessing: a leading quote must not swallow rows, and `None`, `N/A` and
`null` are words.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from debft.errors import InputError, one_of


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length. `lines[i]` is the line (or the row, from 1) of row i in `path`; None for built-in data."""

    columns: dict[str, list]
    path: str
    lines: list[int] | range

    def __len__(self) -> int:
        return len(self.lines)

    def rows(self, kept: list[int]) -> "Table":
        """The table of these rows alone."""
        columns = {name: [column[row] for row in kept] for name, column in self.columns.items()}
        return Table(columns=columns, path=self.path, lines=[self.lines[row] for row in kept])

    def place(self, row: int) -> str:
        return f"{self.path}:{self.lines[row]}"


def read_table(path: Path, header: tuple[str, ...] | None = None) -> Table:
    """The table in `path`, by its ending. `header`: the columns of a TSV or CSV file without a header line.

    Raises InputError with file and line.
    """
    return _parquet(path) if path.suffix == ".parquet" else read_text(path, path.read_bytes(), path.suffix, header)


def read_text(path: Path, raw: bytes, suffix: str, header: tuple[str, ...] | None = None) -> Table:
    """The table in `raw`, a text in the format that `suffix` names; `path` is for the error lines."""
    readers: dict[str, Callable[..., Table]] = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl, ".json": _json}
    if suffix not in readers:
        raise InputError(f"{path}: expected a file ending in {one_of([*readers, '.parquet'])}, got '{suffix}'")
    text = _text(path, raw)
    return readers[suffix](path, text) if header is None else readers[suffix](path, text, header)


SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")


def _text(path: Path, raw: bytes) -> str:
    """The file as text, without its byte order mark; lines end in \\n."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: expected UTF-8 text, got byte 0x{raw[error.start]:02x}; convert the file to UTF-8"
        ) from None
    text = text.replace("\r\n", "\n")
    if "\r" in text and "\n" not in text:
        raise InputError(f"{path}: expected lines that end in \\n, got \\r alone; convert the line ends")
    return text


def _tsv(path: Path, text: str, header: tuple[str, ...] | None = None) -> Table:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return _from_rows(path, [line.split("\t") for line in lines], list(range(1, len(lines) + 1)), header, "tab-separated columns")


def _csv(path: Path, text: str, header: tuple[str, ...] | None = None) -> Table:
    csv.field_size_limit(2**31 - 1)  # its default of 131,072 characters is no limit of ours
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, lines, start = [], [], 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{start}: expected CSV, got {error}; is a quote left open?") from None
    return _from_rows(path, rows, lines, header, "columns")


def _from_rows(path: Path, rows: list[list[str]], lines: list[int], header: tuple[str, ...] | None, what: str) -> Table:
    """`rows` as columns; the first one is the header unless it is given."""
    if header is None:
        if not rows:
            raise InputError(f"{path}: expected a header line, got an empty file")
        header, rows, lines = tuple(rows[0]), rows[1:], lines[1:]
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{path}:1: expected each column once, got '{twice}' twice")
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise InputError(f"{path}:{line}: expected {len(header)} {what} ({', '.join(header[:6])}), got {len(row)}")
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in header]
    return Table(columns=dict(zip(header, columns, strict=True)), path=str(path), lines=lines)


def _jsonl(path: Path, text: str) -> Table:
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: expected one JSON object per line, got {error}; is the line cut off?") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected one JSON object per line, got {line[:40]!r}")
        rows.append(row)
        lines.append(number)
    return _from_objects(path, rows, lines)


def _json(path: Path, text: str) -> Table:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}{line}: expected a JSON list of objects, got {error}; is the file cut off?") from None
    if isinstance(rows, dict) and "data" in rows:
        from debft.data.questions import from_nested

        return from_nested(path, rows)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a JSON list of objects, one per row")
    return _from_objects(path, rows, list(range(1, len(rows) + 1)))


def _from_objects(path: Path, rows: list[dict], lines: list[int]) -> Table:
    if not rows:
        raise InputError(f"{path}: expected rows, got none")
    header = list(rows[0])
    for line, row in zip(lines, rows, strict=True):
        lacking = [name for name in header if name not in row]
        if lacking:
            raise InputError(f"{path}:{line}: expected the keys of the first row ({', '.join(header)}), '{lacking[0]}' is missing")
    return Table(columns={name: [row[name] for row in rows] for name in header}, path=str(path), lines=lines)


def _parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        columns = table.to_pydict()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a Parquet file of UTF-8 text, got {str(error).splitlines()[0]}") from None
    return Table(columns=columns, path=str(path), lines=range(1, table.num_rows + 1))
