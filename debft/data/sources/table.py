"""Every source gives a table of data: a file, the hub and the demo."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, kw_only=True)
class DataTable:
    """The rows of a file or a split are in columns of equal length, as they were read and not yet checked.

    columns: lists, or views of cells on disk where they take too much memory
    path: the file, for error lines
    lines: the line of each row in the file (or its number there, from 1)
    unread: the rows that could not be read and are in no column, as (line, what is wrong with it)
    places: how an error names a row where the file's lines mean nothing, by its entry in `lines`
    notes: what a reader of the file should know, a line for each
    decimal_commas: the columns whose numbers have a comma before their fractions
    """

    columns: Mapping[str, Sequence]
    path: str
    lines: Sequence[int]
    unread: tuple[tuple[int, str], ...] = ()
    places: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    decimal_commas: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, line: int) -> str:
        """Return what an error calls the row in this line."""
        return self.places.get(line, f"line {line}")

    def rows(self, kept: Sequence[int]) -> "DataTable":
        """Return the table of these rows alone, together with those that could not be read."""
        from debft.data.stored import chosen  # numpy comes with it, and the command line begins without

        columns = {name: chosen(column, kept) for name, column in self.columns.items()}
        return replace(self, columns=columns, lines=chosen(self.lines, kept))

    def noting(self, *notes: str, unread: bool = True) -> "DataTable":
        """Return the table with these notes instead of its own. unread: whether it keeps the rows that could not be read"""
        return replace(self, notes=notes, unread=self.unread if unread else ())


class LineNumbers:
    """The numbers of lines are gathered in 8 bytes each."""

    def __init__(self) -> None:
        self.numbers = array("q")

    def add(self, numbers: Iterable[int]) -> None:
        """Add the lines of rows."""
        self.numbers.extend(numbers)

    def done(self) -> Sequence[int]:
        """Return them all: as a range where none is left out."""
        numbers = self.numbers
        if numbers and numbers[-1] - numbers[0] + 1 == len(numbers):  # they rise
            return range(numbers[0], numbers[-1] + 1)
        return numbers


def header_again(header: Iterable[str]) -> str:
    """Return what is wrong with a row that repeats the names of the columns."""
    return f"expected a row, got the header again ({', '.join(list(header)[:6])}); were two files joined?"
