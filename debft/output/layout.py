"""Tables of text are laid out for a width: words wrap, numbers never; what is too wide is turned, or printed in blocks."""

from collections.abc import Collection, Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from debft.console import WIDTH_OF_LOGS, broken, console, on_terminal

GAPS = (2, 1)  # columns between two cells; the second where the table fits by it alone

Rows = Sequence[Sequence[str | Text]]


def print_table(table: Table) -> None:
    """Print a table for people: as wide as the terminal is, in blocks of columns where it is wider; elsewhere with whole lines."""
    headers = [column.header for column in table.columns]
    rows = [headers, *zip(*(column.cells for column in table.columns), strict=True)]
    right = {at for at, column in enumerate(table.columns) if column.justify == "right"}
    whole = {at for at, column in enumerate(table.columns) if column.no_wrap}
    for block in fitted(rows, console.width if on_terminal() else WIDTH_OF_LOGS, turn=False, right=right, whole=whole):
        for line in block:
            console.print(line, soft_wrap=True)


def fitted(
    rows: Rows, width: int, *, turn: bool = True, right: Collection[int] = (), whole: Collection[int] = ()
) -> list[list[Text]]:
    """Return the lines of a table, header first, none wider than `width` unless a single word is; in blocks where it takes several.

    What does not fit as it is gets a line per column, if `turn` allows and that fits; else blocks of columns, each with the names
    of the rows that have something there. A cell may have lines of its own.

    right, whole: the columns that are aligned right, and those whose cells do not wrap
    """
    for gap in GAPS:
        if _narrowest(rows, whole, gap) <= width:
            return [lines(rows, width, right, whole, gap)]
        turned = [list(line) for line in zip(*rows, strict=True)]
        if turn and _narrowest(turned, (), gap) <= width:
            return [lines(turned, width, (), (), gap)]
    blocks = []
    for chosen in _blocks(rows, width, whole):
        header, *others = ([row[at] for at in chosen] for row in rows)
        kept = [header, *(row for row in others if any(map(str, row[1:])))]
        kept_right, kept_whole = ([new for new, at in enumerate(chosen) if at in of] for of in (right, whole))
        blocks.append(lines(kept, width, kept_right, kept_whole))
    return blocks


def _blocks(rows: Rows, width: int, whole: Collection[int]) -> list[list[int]]:
    """Cut the columns into groups of neighbours that fit beside the first one, the names."""
    blocks = [[0]]
    for at in range(1, len(rows[0])):
        wider = [*blocks[-1], at]
        fits = _narrowest([[row[each] for each in wider] for row in rows], [new for new, old in enumerate(wider) if old in whole])
        if fits <= width or len(wider) == 2:
            blocks[-1] = wider
        else:
            blocks.append([0, at])
    return blocks


def _narrowest(rows: Rows, whole: Collection[int], gap: int = GAPS[0]) -> int:
    """Return the least width of a table whose words are whole."""
    return sum(_least_widths(rows, whole)) + gap * (len(rows[0]) - 1)


def lines(rows: Rows, width: int, right: Collection[int] = (), whole: Collection[int] = (), gap: int = GAPS[0]) -> list[Text]:
    """Lay the rows out in columns, at most `width` wide where their words allow it."""
    widths = _widths(rows, width - gap * (len(rows[0]) - 1), whole)
    laid_out = []
    for row in rows:
        cells = [_wrapped(cell, size) for cell, size in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=Text()):
            line = Text()
            for at, (part, size) in enumerate(zip(parts, widths, strict=True)):
                padding = " " * (size - part.cell_len)
                line.append_text(Text.assemble(padding, part) if at in right else Text.assemble(part, padding)).append(" " * gap)
            line.rstrip()
            laid_out.append(line)
    return laid_out


def _wrapped(cell: str | Text, width: int) -> list[Text]:
    """Break a cell into lines between its words, with the styles that it has."""
    text = cell if isinstance(cell, Text) else Text(cell)
    lines = []
    for whole in text.split("\n", allow_blank=True):
        start = 0
        for part in broken(whole.plain, width):
            start = whole.plain.index(part, start)
            lines.append(whole[start : start + len(part)] if part else Text())
            start += len(part)
    return lines


def _widths(rows: Rows, room: int, whole: Collection[int]) -> list[int]:
    """Return the width of each column: the widest ones give way until the table fits, as far as their words allow."""
    least = _least_widths(rows, whole)
    widths = [max(_longest_line(cell) for cell in column) for column in zip(*rows, strict=True)]
    while sum(widths) > room and widths != least:
        widest = max((at for at in range(len(widths)) if widths[at] > least[at]), key=lambda at: widths[at])
        widths[widest] -= 1
    return widths


def _least_widths(rows: Rows, whole: Collection[int]) -> list[int]:
    """Return the least width of each column: that of its longest word, or, of one that does not wrap, that of its longest cell."""
    return [
        max(
            _longest_line(cell) if at in whole and number else max(map(cell_len, str(cell).split()), default=0)
            for number, cell in enumerate(column)
        )
        for at, column in enumerate(zip(*rows, strict=True))
    ]


def _longest_line(cell: str | Text) -> int:
    return max(map(cell_len, str(cell).split("\n")))
