"""What is wrong with which row of a table, and whether those rows end the command or are left out and counted."""

from dataclasses import dataclass, field

from debft.data.sources.table import DataTable
from debft.errors import InputError

PROBLEMS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Rows that were left out: (line, what is wrong with it) in the order of the file, of `num_rows` rows in all.

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
    """Collects what is wrong with which row, beside the rows that could not be read. A row counts once, by what was found first."""

    def __init__(self, table: DataTable) -> None:
        self.table = table
        self.found: dict[int, str] = {}

    def __contains__(self, row: int) -> bool:
        return row in self.found

    def add(self, row: int, what: str) -> None:
        self.found.setdefault(row, what)

    def in_file_order(self) -> list[tuple[int, str]]:
        """(line, what is wrong with it)."""
        return sorted([(self.table.lines[row], what) for row, what in self.found.items()] + list(self.table.unread))

    def raise_any(self) -> None:
        """Raises InputError naming the first bad row and how many more there are."""
        if not (rows := self.in_file_order()):
            return
        (line, what), places, others = rows[0], self.table.places, len(rows) - 1
        more = [places.get(other, str(other)) for other, _ in rows[1 : 1 + PROBLEMS_SHOWN]]
        named = f"{'' if places else 'line '}{', '.join(more)}{', ...' if others > len(more) else ''}"
        where = f"{self.table.path}: {places[line]}" if places else f"{self.table.path}:{line}"
        raise InputError(f"{where}: {what}{f' (and {others:,} more: {named})' if others else ''}")

    def skipped(self) -> Skipped:
        num_rows = len(self.table) + len(self.table.unread)
        return Skipped(rows=tuple(self.in_file_order()), num_rows=num_rows, places=self.table.places)

    def settle(self, skip: bool) -> list[int]:
        """The rows to keep: with `skip` those without a problem, else all.

        Raises InputError where there are none, and without `skip` for any bad row.
        """
        if not skip:
            self.raise_any()
        kept = [row for row in range(len(self.table)) if row not in self.found]
        if not kept:
            skipped = self.skipped()
            raise InputError(f"{self.table.path}: expected rows, got none{f'; {skipped}' if skipped else ''}")
        return kept
