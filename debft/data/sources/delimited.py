"""TSV and CSV become tables, with the line of everything that is wrong.

A row that cannot be read does not end the reading: it is set aside with what is wrong with it. TSV is read without quoting
and without NA guessing: a leading quote must not swallow rows, and `None`, `N/A` and `null` are words.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from debft.data.sources.decoding import not_utf8
from debft.data.sources.table import DataTable, header_again
from debft.errors import InputError

# The columns of a file without a header line, or what tells them from its first line (None: that line is the header).
Header = tuple[str, ...] | Callable[[list[str]], tuple[str, ...] | None]


def read_tsv(path: Path, text: str, header: Header | None) -> DataTable:
    """Read TSV, without quoting and without NA guessing."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    rows = [(number, not_utf8(line) or line.split("\t")) for number, line in enumerate(lines, start=1)]
    return _from_rows(path, rows, header, "tab-separated columns")


def read_csv(path: Path, text: str, header: Header | None) -> DataTable:
    """Read CSV. Raises InputError for a quote that is still open at the end of its line: which rows it swallows cannot be known."""
    csv.field_size_limit(2**31 - 1)  # its default of 131,072 characters is not meant here
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
            rows.append((start, not_utf8(",".join(row)) or row))


def _from_rows(path: Path, rows: list[tuple[int, list[str] | str]], header: Header | None, what: str) -> DataTable:
    """Make columns of rows, each the fields of a line or what is wrong with it; the first is the header unless that is given."""
    header, rows = _header(path, rows, header)
    read: list[list[str]] = []
    lines, unread = [], []
    for line, row in rows:
        if isinstance(row, str):
            unread.append((line, row))
        elif len(row) != len(header):
            unread.append((line, f"expected {len(header)} {what} ({', '.join(header[:6])}), got {len(row)}"))
        elif tuple(row) == header:
            unread.append((line, header_again(header)))
        else:
            read.append(row)
            lines.append(line)
    columns = [list(column) for column in zip(*read, strict=True)] or [[] for _ in header]
    return DataTable(columns=_named(header, columns), path=str(path), lines=lines, unread=tuple(unread))


def _header(path: Path, rows: list[tuple[int, list[str] | str]], header: Header | None) -> tuple[tuple[str, ...], list]:
    """Return the names of the columns and the rows below them."""
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
    """Return the columns by name.

    Spreadsheets write columns without a name: those that hold nothing are left out, the others are called `column 3`, by their
    place from 1.
    """
    named = {}
    for place, (name, column) in enumerate(zip(header, columns, strict=True), start=1):
        if name.strip():
            named[name] = column
        elif any(cell.strip() for cell in column):
            named[f"column {place}"] = column
    return named
