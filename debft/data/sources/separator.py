"""Spreadsheets write CSV with other signs than commas between the columns, and numbers with a decimal comma."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

SEPARATORS = (",", ";", "\t")
NAMES = {";": "semicolons", "\t": "tabs"}
ROWS_LOOKED_AT = 50
CHARACTERS_LOOKED_AT = 1_000_000
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
