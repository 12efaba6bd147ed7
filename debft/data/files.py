"""One table from one file: TSV, CSV, JSONL, JSON or Parquet, with the line of everything that is wrong.

A row that cannot be read does not end the reading: it is set aside with what is wrong with it. TSV is read without quoting
and without NA guessing: a leading quote must not swallow rows, and `None`, `N/A` and `null` are words.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from debft.data import squad_json
from debft.errors import InputError, one_of, shown


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length. `lines[i]` is the line (or the row, from 1) of row i in `path`.

    unread: the rows that could not be read and are in no column, as (line, what is wrong with it)
    places: how an error calls each row of a file in which its line says nothing, by `lines`
    """

    columns: dict[str, list]
    path: str
    lines: list[int] | range
    unread: tuple[tuple[int, str], ...] = ()
    places: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, line: int) -> str:
        return self.places.get(line, f"line {line}")

    def rows(self, kept: list[int]) -> "Table":
        """The table of these rows alone, and of those that could not be read."""
        columns = {name: [column[row] for row in kept] for name, column in self.columns.items()}
        return replace(self, columns=columns, lines=[self.lines[row] for row in kept])


def read_table(path: Path, header: tuple[str, ...] | None = None) -> Table:
    """The table in `path`, by its ending. `header`: the columns of a TSV or CSV file without a header line.

    Raises InputError, with the line where there is one, for a file that is no table at all.
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


# What `surrogateescape` makes of a byte that is not UTF-8; no text that was decoded strictly has it.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


def _text(path: Path, raw: bytes) -> str:
    """The file as text, without its byte order mark; lines end in \\n, bytes that are not UTF-8 are escaped."""
    text = raw.decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n")
    if "\r" in text and "\n" not in text:
        raise InputError(f"{path}: expected lines that end in \\n, got \\r alone; convert the line ends")
    return text


def _not_utf8(text: str) -> str | None:
    """What is wrong with a text that holds escaped bytes."""
    found = None if text.isascii() else _ESCAPED_BYTE.search(text)
    return f"expected UTF-8 text, got byte 0x{ord(found[0]) - 0xDC00:02x}; convert the file to UTF-8" if found else None


def _tsv(path: Path, text: str, header: tuple[str, ...] | None = None) -> Table:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    rows = [(number, _not_utf8(line) or line.split("\t")) for number, line in enumerate(lines, start=1)]
    return _from_rows(path, rows, header, "tab-separated columns")


def _csv(path: Path, text: str, header: tuple[str, ...] | None = None) -> Table:
    """Raises InputError for a quote that is still open at the end of its line: which rows it swallows cannot be known."""
    csv.field_size_limit(2**31 - 1)  # its default of 131,072 characters is no limit of ours
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
    rows: list[tuple[int, list[str] | str]] = []
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            lone = str(error).startswith("new-line character")
            what = "expected CSV, got " + ("\\r outside quotes" if lone else f"{error}; is a quote left open?")
            if reader.line_num > start or "end of data" in what:
                raise InputError(f"{path}:{start}: {what}") from None
            rows.append((start, what))
            continue
        if row is None:
            return _from_rows(path, rows, header, "columns")
        if row:
            rows.append((start, _not_utf8(",".join(row)) or row))


def _from_rows(path: Path, rows: list[tuple[int, list[str] | str]], header: tuple[str, ...] | None, what: str) -> Table:
    """`rows`, each the fields of a line or what is wrong with it, as columns; the first one is the header unless it is given."""
    if header is None:
        if not rows:
            raise InputError(f"{path}: expected a header line, got an empty file")
        line, first = rows[0]
        if isinstance(first, str):
            raise InputError(f"{path}:{line}: {first}")
        header, rows = tuple(first), rows[1:]
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{path}:{line}: expected each column once, got '{twice}' twice")
    read: list[list[str]] = []
    lines, unread = [], []
    for line, row in rows:
        if isinstance(row, str):
            unread.append((line, row))
        elif len(row) != len(header):
            unread.append((line, f"expected {len(header)} {what} ({', '.join(header[:6])}), got {len(row)}"))
        else:
            read.append(row)
            lines.append(line)
    columns = [list(column) for column in zip(*read, strict=True)] or [[] for _ in header]
    return Table(columns=dict(zip(header, columns, strict=True)), path=str(path), lines=lines, unread=tuple(unread))


def _jsonl(path: Path, text: str) -> Table:
    lines = enumerate(text.split("\n"), start=1)
    return _from_objects(path, [(number, _not_utf8(line) or _object(line)) for number, line in lines if line.strip()])


def _object(line: str) -> dict | str:
    """The row, or what is wrong with it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"expected one JSON object per line, got {error}; is the line cut off?"
    return row if isinstance(row, dict) else f"expected one JSON object per line, got {line[:40]!r}"


def _json(path: Path, text: str) -> Table:
    if what := _not_utf8(text):
        line = text.count("\n", 0, _ESCAPED_BYTE.search(text).start()) + 1
        raise InputError(f"{path}:{line}: {what}")
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}{place}: expected JSON, got {error}; is the file cut off?") from None
    if isinstance(rows, dict) and "data" in rows:
        questions, places = squad_json.rows(path, rows)
        return replace(_from_objects(path, questions), places=places)
    expected = "expected a JSON list of objects, one per row"
    if not isinstance(rows, list):
        raise InputError(f"{path}: {expected}, or SQuAD's {{'data': [...]}}, got {shown(rows)}")
    return _from_objects(
        path, [(i, row if isinstance(row, dict) else f"{expected}, got {str(row)[:40]!r}") for i, row in enumerate(rows, start=1)]
    )


class _Lacking:
    """Stands where an object does not have a key that others have."""

    def __repr__(self) -> str:
        return "nothing, the key is missing"


LACKING = _Lacking()


def _from_objects(path: Path, rows: list[tuple[int, dict | str]]) -> Table:
    """`rows`, each an object or what is wrong with it, as columns: one for each key that any of them has."""
    if not rows:
        raise InputError(f"{path}: expected rows, got none")
    read = [row for _, row in rows if isinstance(row, dict)]
    return Table(
        columns={name: [row.get(name, LACKING) for row in read] for name in dict.fromkeys(name for row in read for name in row)},
        path=str(path), lines=[line for line, row in rows if isinstance(row, dict)],
        unread=tuple((line, row) for line, row in rows if isinstance(row, str)),
    )  # fmt: skip


def _parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        columns = table.to_pydict()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a Parquet file of UTF-8 text, got {str(error).splitlines()[0]}") from None
    return Table(columns=columns, path=str(path), lines=range(1, table.num_rows + 1))
