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

    def place(self, row: int) -> str:
        return f"{self.path}:{self.lines[row]}"


def read_table(path: Path) -> Table:
    """The table in `path`, by its ending. Raises InputError with file and line."""
    if path.suffix == ".parquet":
        return _parquet(path)
    readers: dict[str, Callable[[Path, str], Table]] = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl, ".json": _json}
    if path.suffix not in readers:
        raise InputError(f"{path}: expected a file ending in {one_of([*readers, '.parquet'])}, got '{path.suffix}'")
    return readers[path.suffix](path, _text(path))


SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")


def _text(path: Path) -> str:
    """The file as text, without its byte order mark; lines end in \\n."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: expected UTF-8 text, got byte 0x{raw[error.start]:02x}; convert the file to UTF-8"
        ) from None
    return text.replace("\r\n", "\n")


def _tsv(path: Path, text: str) -> Table:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise InputError(f"{path}: expected a header line, got an empty file")
    header = _header(path, lines[0].split("\t"))
    columns: list[list[str]] = [[] for _ in header]
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) != len(header):
            raise InputError(
                f"{path}:{number}: expected {len(header)} tab-separated columns ({', '.join(header[:6])}), got {len(cells)}"
            )
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    return Table(columns=dict(zip(header, columns, strict=True)), path=str(path), lines=range(2, len(lines) + 1))


def _csv(path: Path, text: str) -> Table:
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
    if not rows:
        raise InputError(f"{path}: expected a header line, got an empty file")
    header = _header(path, rows[0])
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(header):
            raise InputError(f"{path}:{line}: expected {len(header)} columns ({', '.join(header[:6])}), got {len(row)}")
    return Table(columns={name: [row[i] for row in rows[1:]] for i, name in enumerate(header)}, path=str(path), lines=lines[1:])


def _jsonl(path: Path, text: str) -> Table:
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}:{number}: expected one JSON object per line, got {error.msg} at column {error.colno}; is the line cut off?"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected one JSON object per line, got {line[:40]!r}")
        rows.append(row)
        lines.append(number)
    return _from_objects(path, rows, lines)


def _json(path: Path, text: str) -> Table:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: expected a JSON list of objects, got {error.msg}; is the file cut off?") from None
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
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: expected a Parquet file, got {str(error).splitlines()[0]}") from None
    return Table(columns=table.to_pydict(), path=str(path), lines=range(1, table.num_rows + 1))


def _header(path: Path, names: list[str]) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}:1: expected each column once, got '{twice}' twice")
    return names
