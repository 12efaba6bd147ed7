"""TSV and CSV become tables, with the line of everything that is wrong.

A row that cannot be read does not end the reading: it is set aside with what is wrong with it. TSV is read without quoting
and without NA guessing: a leading quote must not swallow rows, and `None`, `N/A` and `null` are words.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from debft.data.sources.decoding import not_utf8
from debft.data.sources.progress import BLOCK, reading
from debft.data.sources.separator import LONGEST_FIELD, NAMES, decimal_columns, separator_of
from debft.data.sources.table import DataTable, LineNumbers, header_again
from debft.data.stored import GrowingTable
from debft.errors import InputError
from debft.runtime.progress import Meter

# What tells the columns of a file without a header line from its first line; None: that line is the header.
HeaderFinder = Callable[[list[str]], tuple[str, ...] | None]
# The columns of a file without a header line, or what tells them.
Header = tuple[str, ...] | HeaderFinder
# The line of a row, and its fields or what is wrong with it.
Row = tuple[int, list[str] | str]


def read_tsv(path: Path, blocks: Iterable[str], header: Header | None, size: int = 0) -> DataTable:
    """Read TSV, without quoting and without NA guessing. What is wrong with a row is looked for only where there is something.

    blocks: the text, in parts of whole lines; size: bytes of the file
    """
    table, unread = GrowingTable(path, size), []
    names: tuple[str, ...] = ()
    numbers, number = LineNumbers(), 1  # the line in which a block begins
    with reading(size) as progress:
        for block in blocks:
            lines = block.split("\n")
            if lines[-1] == "":
                lines.pop()
            if number == 1:
                names, begin = _header(path, _fields(lines[0]) if lines else None, 1, header)
                lines, number = lines[begin:], 1 + begin
            odd = _odd(lines, names, not_utf8(block) is None)
            wrong = ((number + row, _wrong(_fields(lines[row]), names, "tab-separated columns")) for row in sorted(odd))
            unread += [(line, what) for line, what in wrong if what is not None]
            if odd:
                numbers.add([number + row for row in range(len(lines)) if row not in odd])
                rows = [line for row, line in enumerate(lines) if row not in odd]
            else:
                numbers.add(range(number, number + len(lines)))
                rows = lines
            cells = "\t".join(rows).split("\t") if rows else []
            table.add(_by_place([cells[place :: len(names)] for place in range(len(names))]), len(rows), len(block))
            number += len(lines)
            progress.advance(len(block), path.name)
    return DataTable(columns=_named(names, table.done()), path=str(path), lines=numbers.done(), unread=tuple(unread))


def _odd(lines: list[str], names: tuple[str, ...], is_utf8: bool) -> set[int]:
    """Return the lines that may not be rows."""
    tabs, again = len(names) - 1, "\t".join(names)
    return {
        row
        for row, line in enumerate(lines)
        if line.count("\t") != tabs or line == again or not (is_utf8 or not_utf8(line) is None)
    }


def _fields(line: str) -> list[str] | str:
    """Return the fields of a line of TSV, or what is wrong with it."""
    return not_utf8(line) or line.split("\t")


def read_csv(path: Path, blocks: Iterable[str], header: Header | None, size: int = 0) -> DataTable:
    """Read CSV, between commas or what else parts its columns. The notes of the table say what is not plain CSV.

    blocks: the text, in parts of whole lines; size: bytes of the file
    Raises InputError for a quote that is still open at the end of its line: which rows it swallows cannot be known.
    """
    csv.field_size_limit(LONGEST_FIELD)
    blocks = iter(blocks)
    separator, first = separator_of(next(blocks, ""))
    with reading(size) as progress:
        rows = _CsvRows(path, chain([first], blocks), separator, progress)
        table = _from_rows(path, rows, header, size)
    notes = [] if separator == "," else [f"{path.name}: columns parted by {NAMES.get(separator, repr(separator))}"]
    if rows.num_blank:
        notes.append(f"{path.name}: {rows.num_blank:,} row{'s' * (rows.num_blank > 1)} of empty cells left out")
    return replace(table, notes=tuple(notes), decimal_commas=frozenset() if separator == "," else decimal_columns(table.columns))


class _CsvRows:
    """The rows of a CSV file come one at a time: (line, fields or what is wrong with it).

    num_blank: rows of nothing but empty cells that were left out so far; characters: of the blocks that were begun so far
    """

    def __init__(self, path: Path, blocks: Iterable[str], separator: str, progress: Meter) -> None:
        self.path, self.blocks, self.separator, self.progress = path, blocks, separator, progress
        self.num_blank, self.characters, self.is_utf8 = 0, 0, True

    def next_ones(self, left: Iterator[Row], begun: int) -> list[Row]:
        """Take rows that are left, BLOCK of them, or fewer where more than the characters `begun` are read: they may be long."""
        some = []
        for row in left:
            some.append(row)
            if len(some) == BLOCK or self.characters > begun:
                break
        return some

    def _lines(self) -> Iterator[str]:
        for block in self.blocks:
            self.is_utf8 = self.is_utf8 and not_utf8(block) is None  # a row may have begun in the block before
            self.characters += len(block)
            yield from io.StringIO(block, newline="\n")
            self.progress.advance(len(block), self.path.name)

    def __iter__(self) -> Iterator[Row]:
        reader, any_row = csv.reader(self._lines(), strict=True, delimiter=self.separator), False
        while True:
            start = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                lone = str(error).startswith("new-line character")
                what = "expected CSV, got " + ("\\r outside quotes" if lone else f"{error}; is a quote left open?")
                if reader.line_num > start or "end of data" in what:
                    raise InputError(f"{self.path}:{start}: {what}") from None
                yield start, what
                any_row = True
                continue
            if row is None:
                return
            if any_row and len(row) > 1 and not any(row):
                self.num_blank += 1
            elif row:
                yield start, row if self.is_utf8 else not_utf8(",".join(row)) or row
                any_row = True


def _from_rows(path: Path, rows: _CsvRows, header: Header | None, size: int) -> DataTable:
    """Make columns of rows, each the fields of a line or what is wrong with it; the first is the header unless that is given."""
    left: Iterator[Row] = iter(rows)
    line, first = next(left, (1, None))
    names, begin = _header(path, first, line, header)
    named = max((place for place, name in enumerate(names, start=1) if name.strip()), default=len(names))
    if first is not None and not begin:
        left = chain([(line, first)], left)
    table, numbers, unread, before = GrowingTable(path, size), LineNumbers(), [], 0
    while some := rows.next_ones(left, before):
        read, lines = [], []
        for line, row in some:
            row = _without_empty_end(row, len(names), named) if isinstance(row, list) else row
            what = _wrong(row, names, "columns")
            if what is None and isinstance(row, list):
                read.append(row)
                lines.append(line)
            elif what is not None:
                unread.append((line, what))
        columns = [list(column) for column in zip(*read, strict=True)] or [[] for _ in names]
        table.add(_by_place(columns), len(read), rows.characters - before)
        numbers.add(lines)
        before = rows.characters
    if not table.held:
        table.add(_by_place([[] for _ in names]), 0, 0)
    return DataTable(columns=_named(names, table.done()), path=str(path), lines=numbers.done(), unread=tuple(unread))


def _by_place(columns: list[list[str]]) -> dict[str, list]:
    """Return columns by their places: several may have no name."""
    return {str(place): column for place, column in enumerate(columns)}


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


def _named(header: tuple[str, ...], columns: dict[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the columns by name.

    Spreadsheets write columns without a name: those that hold nothing are left out, the others are called `column 3`, by their
    place from 1.
    """
    named: dict[str, Sequence[str]] = {}
    for place, name in enumerate(header, start=1):
        column = columns.get(str(place - 1), [])
        if name.strip():
            named[name] = column
        elif any(cell.strip() for cell in column):
            named[f"column {place}"] = column
    return named
