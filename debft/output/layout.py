"""Tables of text are laid out for a width: words wrap, numbers never; what is too wide is turned, or printed in blocks."""

from collections.abc import Collection, Sequence
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size

from debft.console import broken

GAP = 2  # columns between two cells
HARD_SPACE = "\u2423"  # a space in a cell at which no line is broken

Rows = Sequence[Sequence[str]]


def fitted(rows: Rows, width: int, *, turn: bool = True) -> list[list[str]]:
    """Return the lines of a table, header first, none wider than `width` unless a single word is; in blocks where it takes several.

    What does not fit as it is gets a line per column, if `turn` allows and that fits; else blocks of columns, each with the names
    of the rows that have something there. A cell may have lines of its own.
    """
    for whole in (rows, _turned(rows)) if turn else (rows,):
        if narrowest(whole) <= width:
            return [lines(whole, width)]
    return [lines(block, width) for block in _blocks(rows, width)]


def narrowest(rows: Rows) -> int:
    """Return the least width of a table whose words are whole."""
    return sum(_longest_words(rows)) + GAP * (len(rows[0]) - 1)


def lines(rows: Rows, width: int, right: Collection[int] = ()) -> list[str]:
    """Lay the rows out in columns, at most `width` wide where their words allow it. right: the columns that are aligned right."""
    widths = _widths(rows, width)
    laid_out = []
    for row in rows:
        for line in zip_longest(*(_wrapped(cell, size) for cell, size in zip(row, widths, strict=True)), fillvalue=""):
            parts = [_aligned(part, size, at in right) for at, (part, size) in enumerate(zip(line, widths, strict=True))]
            laid_out.append((" " * GAP).join(parts).replace(HARD_SPACE, " ").rstrip())
    return laid_out


def _aligned(text: str, size: int, right: bool) -> str:
    return " " * (size - cell_len(text)) + text if right else set_cell_size(text, size)


def _wrapped(cell: str, width: int) -> list[str]:
    return [line for part in cell.split("\n") for line in broken(part, width)]


def _widths(rows: Rows, width: int) -> list[int]:
    """Return the width of each column: the widest ones give way until the table fits, as far as their words allow."""
    least = _longest_words(rows)
    widths = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in zip(*rows, strict=True)]
    room = width - GAP * (len(widths) - 1)
    while sum(widths) > room and widths != least:
        widest = max((at for at in range(len(widths)) if widths[at] > least[at]), key=lambda at: widths[at])
        widths[widest] -= 1
    return widths


def _longest_words(rows: Rows) -> list[int]:
    return [max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in zip(*rows, strict=True)]


def _turned(rows: Rows) -> list[list[str]]:
    return [list(line) for line in zip(*rows, strict=True)]


def _blocks(rows: Rows, width: int) -> list[list[list[str]]]:
    """Cut the table into blocks of neighbouring columns that fit beside the names, without the rows that are empty there."""
    blocks, start = [], 1
    while start < len(rows[0]):
        end = start + 1
        while end < len(rows[0]) and narrowest(_columns(rows, start, end + 1)) <= width:
            end += 1
        blocks.append(_columns(rows, start, end))
        start = end
    return blocks


def _columns(rows: Rows, start: int, end: int) -> list[list[str]]:
    header, *others = ([row[0], *row[start:end]] for row in rows)
    return [header, *(row for row in others if any(row[1:]))]
