"""Spreadsheets write CSV with other signs than commas between the columns, and numbers with a decimal comma."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

from debft.errors import InputError, shown

SEPARATORS = (",", ";", "\t")
NAMES = {";": "semicolons", "\t": "tabs"}
ROWS_LOOKED_AT = 50
CHARACTERS_LOOKED_AT = 1_000_000
LONGEST_FIELD = 2**31 - 1  # characters; the default of the csv module, 131,072, is not meant here
_SAID = re.compile(r"\"?sep=(.)\"?\n", re.IGNORECASE)  # what Excel reads, and writes for itself, before the header
_NUMBER = re.compile(r"\s*-?\d+(,\d+)?\s*")


def separator_of(text: str) -> tuple[str, str]:
    """Return what parts the columns of a CSV file, and its first block, without a first line `sep=;` that says so.

    text: that block, of at least CHARACTERS_LOOKED_AT where the file has so many in lines of usual length
    Where the file does not say it, it is the first of the signs that gives a header of several columns and as many in the rows
    that follow; a comma where none does, and where the header holds no other sign.
    """
    if said := _SAID.match(text):
        return said[1], "\n" + text[said.end() :]  # the line stays, empty, so that errors name the lines of the file
    widths = {sign: _widths(text, sign) for sign in SEPARATORS}
    fits = [sign for sign, (header, *rows) in widths.items() if header > 1 and _fit(header, rows)]
    if fits:
        return fits[0], text
    return ("," if widths[","][0] > 1 else next((sign for sign in SEPARATORS[1:] if widths[sign][0] > 1), ",")), text


def fields_of(line: str, where: str, *, delimiter: str = ",", skipinitialspace: bool = True) -> list[str]:
    """Split a line, such as names that were typed with commas between them, as CSV does. where: what error lines call it

    Raises InputError where it is no line of CSV.
    """
    csv.field_size_limit(LONGEST_FIELD)
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=skipinitialspace), [])
    except csv.Error:
        sign = NAMES.get(delimiter, "commas" if delimiter == "," else repr(delimiter))
        advice = "put quotes around one with a line break"
        raise InputError(f"{where}: expected names with {sign} between them, got {shown(line)}; {advice}") from None


def _fit(header: int, rows: list[int]) -> bool:
    """Tell whether most rows have as many columns as the header: one of several wrong rows says nothing about the sign."""
    return 2 * sum(width == header for width in rows) > len(rows) or not rows


def _widths(text: str, sign: str) -> list[int]:
    """Return the number of columns of the first rows, the header first, that `sign` would make."""
    widths = []
    try:
        for row in csv.reader(io.StringIO(text[:CHARACTERS_LOOKED_AT], newline="\n"), delimiter=sign):
            if row:
                widths.append(len(row))
            if len(widths) > ROWS_LOOKED_AT:
                break
    except csv.Error:
        pass
    return widths or [0]


def decimal_columns(columns: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return the columns of numbers, some of which have a decimal comma: 2,7. Whether they are meant as numbers is not known."""
    return frozenset(
        name for name, cells in columns.items() if any("," in cell for cell in cells) and all(map(_is_number_or_empty, cells))
    )


def _is_number_or_empty(cell: str) -> bool:
    return not cell.strip() or _NUMBER.fullmatch(cell) is not None
