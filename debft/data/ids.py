"""Every row has an id: its value in a column of ids, or its number in the file."""

from collections.abc import Sequence

import numpy as np

from debft.data.problems import Problems
from debft.data.sources.table import DataTable
from debft.data.stored import NumberedIds, is_stored, mapped
from debft.errors import InputError, has_half_surrogate, one_of, shown


def ids_of(table: DataTable, problems: Problems) -> Sequence[str]:
    """Return the ids of the rows, each once among the good ones: a column of the table, else their numbers in the file, from 0."""
    column = id_column(table)
    if column is None:
        return _numbers(table)
    cells = table.columns[column]
    again = _perhaps_again(cells)
    first_line: dict[str, int] = {}
    for row, value in enumerate(cells):
        identity = str(value)
        usable = isinstance(value, (str, int, float)) and not isinstance(value, bool) and value == value and value != ""
        if not usable or has_half_surrogate(identity):
            problems.add(row, f"{column}: expected an id, got {shown(value)}")
        elif hash(identity) in again:
            if identity in first_line and row not in problems:
                first = table.place(first_line[identity])
                problems.add(row, f"{column}: expected each id once, got {shown(value)} again, first in {first}")
            elif row not in problems:
                first_line[identity] = table.lines[row]
    return mapped(str, cells)


def _numbers(table: DataTable) -> Sequence[str]:
    """Return the number of each row in the file, with those that could not be read, as texts."""
    numbers = np.arange(len(table))
    if table.unread:
        unread = np.array(sorted(line for line, _ in table.unread), dtype=np.int64)
        numbers += np.searchsorted(unread, np.asarray(table.lines, dtype=np.int64))
    return NumberedIds(numbers) if any(map(is_stored, table.columns.values())) else list(map(str, numbers.tolist()))


def _perhaps_again(cells: Sequence) -> set[int]:
    """Return the hashes of ids that come more than once, and by chance a few others: 8 bytes for each row, not the ids."""
    hashes = np.fromiter((hash(str(value)) for value in cells), np.int64, len(cells))
    hashes.sort()
    return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


def id_column(table: DataTable) -> str | None:
    """Return the name of the column `id` or `idx`, in upper or lower case. Raises InputError where two columns could be it."""
    for usual in ("id", "idx"):
        names = [usual] if usual in table.columns else [name for name in table.columns if name.strip().lower() == usual]
        if len(names) > 1:
            raise InputError(f"{table.path}: expected one column of ids, got {one_of(names)}; rename the others")
        if names:
            return names[0]
    return None
