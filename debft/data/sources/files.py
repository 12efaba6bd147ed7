"""One table from one file: TSV, CSV, JSONL, JSON or Parquet, with the line of everything that is wrong.

A row that cannot be read does not end the reading: it is set aside with what is wrong with it. TSV is read without quoting
and without NA guessing: a leading quote must not swallow rows, and `None`, `N/A` and `null` are words.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from debft.data.sources import squad_json
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


# The columns of a file without a header line, or what tells them from its first line (None: that line is the header).
Header = tuple[str, ...] | Callable[[list[str]], tuple[str, ...] | None]


def read_table(path: Path, header: Header | None = None) -> Table:
    """The table in `path`, by its ending. `header`: of a TSV or CSV file that has no header line, or may have none.

    Raises InputError, with the line where there is one, for a file that is no table at all.
    """
    return _parquet(path) if path.suffix == ".parquet" else read_text(path, decoded(path, path.read_bytes()), path.suffix, header)


def read_text(path: Path, text: str, suffix: str, header: Header | None = None) -> Table:
    """The table in `text`, in the format that `suffix` names; `path` is for the error lines. `.txt` is TSV: so are SNLI's files."""
    readers: dict[str, Callable[..., Table]] = {".tsv": _tsv, ".txt": _tsv, ".csv": _csv, ".jsonl": _jsonl, ".json": _json}
    if suffix not in readers:
        raise InputError(f"{path}: expected a file ending in {one_of(SUFFIXES)}, got '{suffix}'")
    return readers[suffix](path, text, header) if suffix in (".tsv", ".txt", ".csv") else readers[suffix](path, text)


SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")
# Byte order marks of what Windows and spreadsheets call Unicode; UTF-8 begins with none of them. The longer ones come first.
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# What `surrogateescape` makes of a byte that is not UTF-8; no text that was decoded strictly has it.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


def decoded(path: Path, raw: bytes) -> str:
    """The file as text, without byte order marks, also where files were joined; lines end in \\n.

    A file is UTF-8 unless it begins with the mark of UTF-16 or UTF-32. Bytes that are not UTF-8 are escaped.
    """
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), None)
    try:
        text = raw.decode(encoding) if encoding else raw.decode("utf-8", "surrogateescape")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected {encoding.upper()}, as its byte order mark says, got {error.reason}; convert it to UTF-8"
        ) from None
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\n\ufeff", "\n")
    if "\r" in text and "\n" not in text:
        raise InputError(f"{path}: expected lines that end in \\n, got \\r alone; convert the line ends")
    return text


def _not_utf8(text: str) -> str | None:
    """What is wrong with a text that holds escaped bytes."""
    found = None if text.isascii() else _ESCAPED_BYTE.search(text)
    return f"expected UTF-8 text, got byte 0x{ord(found[0]) - 0xDC00:02x}; convert the file to UTF-8" if found else None


def _tsv(path: Path, text: str, header: Header | None) -> Table:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    rows = [(number, _not_utf8(line) or line.split("\t")) for number, line in enumerate(lines, start=1)]
    return _from_rows(path, rows, header, "tab-separated columns")


def _csv(path: Path, text: str, header: Header | None) -> Table:
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


def _from_rows(path: Path, rows: list[tuple[int, list[str] | str]], header: Header | None, what: str) -> Table:
    """`rows`, each the fields of a line or what is wrong with it, as columns; the first one is the header unless it is given."""
    header, rows = _header(path, rows, header)
    read: list[list[str]] = []
    lines, unread = [], []
    for line, row in rows:
        if isinstance(row, str):
            unread.append((line, row))
        elif len(row) != len(header):
            unread.append((line, f"expected {len(header)} {what} ({', '.join(header[:6])}), got {len(row)}"))
        elif tuple(row) == header:
            unread.append((line, _header_again(header)))
        else:
            read.append(row)
            lines.append(line)
    columns = [list(column) for column in zip(*read, strict=True)] or [[] for _ in header]
    return Table(columns=_named(header, columns), path=str(path), lines=lines, unread=tuple(unread))


def _header_again(header: Iterable[str]) -> str:
    return f"expected a row, got the header again ({', '.join(list(header)[:6])}); were two files joined?"


def _header(path: Path, rows: list[tuple[int, list[str] | str]], header: Header | None) -> tuple[tuple[str, ...], list]:
    """(the names of the columns, the rows below them)."""
    if callable(header):
        header = header(rows[0][1]) if rows and isinstance(rows[0][1], list) else None
    if header is not None:
        return header, rows[1:] if rows and rows[0][1] == list(header) else rows
    if not rows:
        raise InputError(f"{path}: expected a header line, got an empty file")
    line, first = rows[0]
    if isinstance(first, str):
        raise InputError(f"{path}:{line}: {first}")
    if not any(name.strip() for name in first):
        raise InputError(f"{path}:{line}: expected a header line, got a blank one")
    twice = next((name for name in first if name.strip() and first.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}:{line}: expected each column once, got '{twice}' twice")
    separator = next((mark for mark in (";", "\t") if len(first) == 1 and mark in first[0]), None)
    if separator is not None and path.suffix == ".csv":
        raise InputError(f"{path}:{line}: expected commas between the columns, got {separator!r}; save it with commas, or as .tsv")
    return tuple(first), rows[1:]


def _named(header: tuple[str, ...], columns: list[list[str]]) -> dict[str, list[str]]:
    """The columns by name. Spreadsheets write columns without one: those that hold nothing do not matter, the others are called
    `column 3`, by their place from 1.
    """
    named = {}
    for place, (name, column) in enumerate(zip(header, columns, strict=True), start=1):
        if name.strip():
            named[name] = column
        elif any(cell.strip() for cell in column):
            named[f"column {place}"] = column
    return named


def _jsonl(path: Path, text: str) -> Table:
    lines = enumerate(text.split("\n"), start=1)
    return _from_objects(path, [(number, _not_utf8(line) or _object(line)) for number, line in lines if line.strip()])


class _TwiceError(Exception):
    """A key that an object has twice."""


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object. json would take the last of two values without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(repr(next(name for name in names if names.count(name) > 1)))
    return found


def _object(line: str) -> dict | str:
    """The row, or what is wrong with it."""
    try:
        row = json.loads(line, object_pairs_hook=_each_key_once)
    except _TwiceError as error:
        return f"expected each key once in an object, got {error} twice"
    except (ValueError, RecursionError) as error:
        return f"expected one JSON object per line, got {error}; is the line cut off?"
    return row if isinstance(row, dict) else f"expected one JSON object per line, got {line[:40]!r}"


def _json(path: Path, text: str) -> Table:
    if what := _not_utf8(text):
        line = text.count("\n", 0, _ESCAPED_BYTE.search(text).start()) + 1
        raise InputError(f"{path}:{line}: {what}")
    try:
        content = json.loads(text, object_pairs_hook=_each_key_once)
    except _TwiceError as error:
        raise InputError(f"{path}: expected each key once in an object, got {error} twice") from None
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        if place and error.msg == "Extra data" and error.colno == 1 and text.lstrip().startswith("{"):
            return _jsonl(path, text)  # several programs call JSONL .json
        raise InputError(f"{path}{place}: expected JSON, got {error}; is the file cut off?") from None
    if isinstance(content, dict) and squad_json.is_nested(content):
        questions, places = squad_json.rows(path, content)
        return replace(_from_objects(path, questions), places=places)
    rows = content if isinstance(content, list) else _rows_inside(path, content)
    return _from_objects(
        path, [(i, row if isinstance(row, dict) else f"{OBJECTS}, got {str(row)[:40]!r}") for i, row in enumerate(rows, start=1)]
    )


OBJECTS = "expected a JSON list of objects, one per row"
ROWS_UNDER = ("data", "rows", "examples", "instances", "items", "records")  # what programs call the list of rows


def lists_of_objects(content: dict) -> list[str]:
    """The keys under which an object has what may be rows."""
    return [key for key, value in content.items() if isinstance(value, list) and any(isinstance(row, dict) for row in value)]


def _rows_inside(path: Path, content: object) -> list:
    """The rows that an object has under one of its keys. Raises InputError where there are none, or several lists of them."""
    keys = lists_of_objects(content) if isinstance(content, dict) else []
    chosen = [key for key in ROWS_UNDER if key in keys][:1] or keys
    if len(chosen) == 1:
        return content[chosen[0]]
    if chosen:
        raise InputError(f"{path}: {OBJECTS}, got lists under {one_of(chosen[:8])}; write each into a file of its own")
    if isinstance(content, dict) and "data" in content:
        expected = "expected a list of objects, one per row, or SQuAD's articles"
        raise InputError(f"{path}: data: {expected}, got {shown(content['data'])}")
    raise InputError(f"{path}: {OBJECTS}, or SQuAD's {{'data': [...]}}, got {shown(content)}")


class _Lacking:
    """Stands where an object does not have a key that others have."""

    def __repr__(self) -> str:
        return "nothing, the key is missing"


LACKING = _Lacking()


def _from_objects(path: Path, rows: list[tuple[int, dict | str]]) -> Table:
    """`rows`, each an object or what is wrong with it, as columns: one for each key that any of them has."""
    if not rows:
        raise InputError(f"{path}: expected rows, got none")
    rows = [(line, _header_again(row) if _repeats_the_header(row) else row) for line, row in rows]
    read = [row for _, row in rows if isinstance(row, dict)]
    return Table(
        columns={name: [row.get(name, LACKING) for row in read] for name in dict.fromkeys(name for row in read for name in row)},
        path=str(path),
        lines=[line for line, row in rows if isinstance(row, dict)],
        unread=tuple((line, row) for line, row in rows if isinstance(row, str)),
    )


def _repeats_the_header(row: dict | str) -> bool:
    """Whether every value of a row is the name of its column: joined files that were converted later have such rows."""
    return isinstance(row, dict) and len(row) > 1 and all(value == name for name, value in row.items())


def _parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        columns = table.to_pydict()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a Parquet file of UTF-8 text, got {str(error).splitlines()[0]}") from None
    table = Table(columns=columns, path=str(path), lines=range(1, table.num_rows + 1))
    again = [] if len(columns) < 2 else [row for row in range(len(table)) if all(c[row] == name for name, c in columns.items())]
    if not again:
        return table
    unread = tuple((table.lines[row], _header_again(columns)) for row in again)
    return replace(table.rows([row for row in range(len(table)) if row not in set(again)]), unread=unread)
