"""TSV and CSV become tables, with the line of everything that is wrong.

A row that cannot be read does not end the reading: it is set aside with what is wrong with it. TSV is read without quoting
and without NA guessing: a leading quote must not swallow rows, and `None`, `N/A` and `null` are words.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from debft.data.sources.decoding import not_utf8
from debft.data.sources.progress import BLOCK, reading
from debft.data.sources.separator import NAMES, decimal_columns, separator_of
from debft.data.sources.table import DataTable, header_again
from debft.errors import InputError

# What tells the columns of a file without a header line from its first line; None: that line is the header.
HeaderFinder = Callable[[list[str]], tuple[str, ...] | None]
# The columns of a file without a header line, or what tells them.
Header = tuple[str, ...] | HeaderFinder


def read_tsv(path: Path, text: str, header: Header | None) -> DataTable:
    """Read TSV, without quoting and without NA guessing. What is wrong with a row is looked for only where there is something."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    is_utf8 = not_utf8(text) is None
    names, begin = _header(path, _fields(lines[0]) if lines else None, 1, header)
    tabs, again, lines = len(names) - 1, "\t".join(names), lines[begin:]
    odd = {
        row
        for row, line in enumerate(lines)
        if line.count("\t") != tabs or line == again or not (is_utf8 or not_utf8(line) is None)
    }
    wrong = ((begin + 1 + row, _wrong(_fields(lines[row]), names, "tab-separated columns")) for row in sorted(odd))
    unread = tuple((number, what) for number, what in wrong if what is not None)
    numbers: range | list[int] = range(begin + 1, begin + 1 + len(lines))
    if odd:
        numbers = [number for row, number in enumerate(numbers) if row not in odd]
        lines = [line for row, line in enumerate(lines) if row not in odd]
    columns: list[list[str]] = [[] for _ in names]
    with reading(len(lines)) as progress:
        for start in range(0, len(lines), BLOCK):
            cells = "\t".join(lines[start : start + BLOCK]).split("\t")
            for place, column in enumerate(columns):
                column += cells[place :: len(names)]
            progress.advance(len(cells) // len(names), path.name)
    return DataTable(columns=_named(names, columns), path=str(path), lines=numbers, unread=unread)


def _fields(line: str) -> list[str] | str:
    """Return the fields of a line of TSV, or what is wrong with it."""
    return not_utf8(line) or line.split("\t")


def read_csv(path: Path, text: str, header: Header | None) -> DataTable:
    """Read CSV, between commas or what else parts its columns. The notes of the table say what is not plain CSV.

    Raises InputError for a quote that is still open at the end of its line: which rows it swallows cannot be known.
    """
    csv.field_size_limit(2**31 - 1)  # its default of 131,072 characters is not meant here
    separator, text = separator_of(text)
    rows, num_blank = _csv_rows(path, text, separator)
    table = _from_rows(path, rows, header)
    notes = [] if separator == "," else [f"{path.name}: columns parted by {NAMES.get(separator, repr(separator))}"]
    if num_blank:
        notes.append(f"{path.name}: {num_blank:,} row{'s' * (num_blank > 1)} of empty cells left out")
    return replace(table, notes=tuple(notes), decimal_commas=frozenset() if separator == "," else decimal_columns(table.columns))


def _csv_rows(path: Path, text: str, separator: str) -> tuple[list[tuple[int, list[str] | str]], int]:
    """Return (line, fields or what is wrong with it) of every row, and how many rows of nothing but empty cells were left out."""
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True, delimiter=separator)
    is_utf8, num_lines, num_blank = not_utf8(text) is None, text.count("\n"), 0
    rows: list[tuple[int, list[str] | str]] = []
    with reading(num_lines) as progress:
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
                break
            if rows and len(row) > 1 and not any(row):
                num_blank += 1
            elif row:
                rows.append((start, row if is_utf8 else not_utf8(",".join(row)) or row))
            if len(rows) % BLOCK == 0:
                progress.advance(reader.line_num - progress.done, path.name)
    return rows, num_blank


def _from_rows(path: Path, rows: list[tuple[int, list[str] | str]], header: Header | None) -> DataTable:
    """Make columns of rows, each the fields of a line or what is wrong with it; the first is the header unless that is given."""
    line, first = rows[0] if rows else (1, None)
    names, begin = _header(path, first, line, header)
    named = max((place for place, name in enumerate(names, start=1) if name.strip()), default=len(names))
    read: list[list[str]] = []
    lines, unread = [], []
    for line, row in rows[begin:]:
        row = _without_empty_end(row, len(names), named) if isinstance(row, list) else row
        what = _wrong(row, names, "columns")
        if what is None and isinstance(row, list):
            read.append(row)
            lines.append(line)
        elif what is not None:
            unread.append((line, what))
    columns = [list(column) for column in zip(*read, strict=True)] or [[] for _ in names]
    return DataTable(columns=_named(names, columns), path=str(path), lines=lines, unread=tuple(unread))


def _without_empty_end(row: list[str], width: int, named: int) -> list[str]:
    """Return the row with as many cells as the header has, where what it has more or less of are empty cells behind the names.

    Spreadsheets end some rows with the separators of columns that hold nothing, and others without. named: columns up to the last
    that has a name
    """
    if len(row) > width and not any(row[width:]):
        return row[:width]
    return row + [""] * (width - len(row)) if named <= len(row) < width else row


def _wrong(row: list[str] | str, names: tuple[str, ...], what: str) -> str | None:
    """Return what is wrong with a row, None for one that is right. what: the columns, in the words of the format"""
    if isinstance(row, str):
        return row
    if len(row) != len(names):
        return f"expected {len(names)} {what} ({', '.join(names[:6])}), got {len(row)}"
    return header_again(names) if tuple(row) == names else None


def _header(path: Path, first: list[str] | str | None, line: int, header: Header | None) -> tuple[tuple[str, ...], int]:
    """Return the names of the columns, and 1 where the first row, which is in `line`, is the header and none of the rows."""
    if callable(header):
        header = header(first) if isinstance(first, list) else None
    if header is not None:
        return header, int(first == list(header))
    if first is None:
        raise InputError(f"{path}: expected a header line, got an empty file")
    if isinstance(first, str):
        raise InputError(f"{path}:{line}: {first}")
    if not any(name.strip() for name in first):
        raise InputError(f"{path}:{line}: expected a header line, got a blank one")
    twice = next((name for name in first if name.strip() and first.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}:{line}: expected each column once, got '{twice}' twice")
    return tuple(first), 1


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
