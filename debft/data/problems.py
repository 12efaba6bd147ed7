"""Bad rows of a table end the command, or they are left out and counted."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from debft.data.sources.table import DataTable
from debft.errors import BadRowsError, InputError

PROBLEMS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """These rows of a table were left out.

    rows: (line, what is wrong with it) in the order of the file
    num_rows: all rows of the table, good and bad
    places: as in DataTable
    """

    rows: tuple[tuple[int, str], ...]
    num_rows: int
    places: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        reasons = ", ".join(f"{self.places.get(line, f'line {line}')} ({what})" for line, what in self.rows[:PROBLEMS_SHOWN])
        more = ", ..." if len(self.rows) > PROBLEMS_SHOWN else ""
        return f"{len(self.rows):,} of {self.num_rows:,} rows skipped: {reasons}{more}"


NOTHING_SKIPPED = Skipped(rows=(), num_rows=0)


class Problems:
    """This collects the bad rows of a table, by their first problems: those that could not be read, and those that checks add."""

    def __init__(self, table: DataTable) -> None:
        self.table = table
        self.by_row: dict[int, str] = {}

    def __contains__(self, row: int) -> bool:
        return row in self.by_row

    def add(self, row: int, what: str) -> None:
        self.by_row.setdefault(row, what)

    def in_file_order(self) -> list[tuple[int, str]]:
        """Return (line, what is wrong with it) of every bad row."""
        return sorted([(self.table.lines[row], what) for row, what in self.by_row.items()] + list(self.table.unread))

    def raise_any(self) -> None:
        """Raise BadRowsError naming the first bad row and how many more there are."""
        if not (rows := self.in_file_order()):
            return
        (line, what), places, others = rows[0], self.table.places, len(rows) - 1
        more = [places.get(other, str(other)) for other, _ in rows[1 : 1 + PROBLEMS_SHOWN]]
        named = f"{'' if places else 'line '}{', '.join(more)}{', ...' if others > len(more) else ''}"
        where = f"{self.table.path}: {places[line]}" if places else f"{self.table.path}:{line}"
        raise BadRowsError(f"{where}: {what}{f' (and {others:,} more: {named})' if others else ''}")

    def skipped(self) -> Skipped:
        """Return the bad rows as those that are left out."""
        num_rows = len(self.table) + len(self.table.unread)
        return Skipped(rows=tuple(self.in_file_order()), num_rows=num_rows, places=self.table.places)

    def settle(self, skip: bool) -> Sequence[int]:
        """Return the rows to keep: with `skip` those without a problem, else all.

        Raises InputError where no row is left, and without `skip` for any bad row.
        """
        if not skip:
            self.raise_any()
        kept: range | array = range(len(self.table))
        if self.by_row:
            kept = array("q", (row for row in kept if row not in self.by_row))
        if not kept:
            skipped = self.skipped()
            raise InputError(f"{self.table.path}: expected rows, got none{f'; {skipped}' if skipped else ''}")
        return kept
