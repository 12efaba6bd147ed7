"""Every row has an id: its value in a column of ids, or its number in the file."""

from bisect import bisect_left

from debft.data.label_names import has_half_surrogate
from debft.data.problems import Problems
from debft.data.sources.table import DataTable
from debft.errors import InputError, one_of, shown


def ids_of(table: DataTable, problems: Problems) -> list[str]:
    """Return the ids of the rows, each once among the good ones: a column of the table, else their numbers in the file, from 0."""
    column = id_column(table)
    if column is None:
        if not table.unread:
            return list(map(str, range(len(table))))
        unread = sorted(line for line, _ in table.unread)
        return [str(row + bisect_left(unread, line)) for row, line in enumerate(table.lines)]
    ids: list[str] = []
    first_line: dict[str, int] = {}
    for row, value in enumerate(table.columns[column]):
        usable = isinstance(value, (str, int, float)) and not isinstance(value, bool) and value == value and value != ""
        ids.append(str(value))
        if not usable or has_half_surrogate(ids[-1]):
            problems.add(row, f"{column}: expected an id, got {shown(value)}")
        elif ids[-1] in first_line and row not in problems:
            first = table.place(first_line[ids[-1]])
            problems.add(row, f"{column}: expected each id once, got {shown(value)} again, first in {first}")
        elif row not in problems:
            first_line[ids[-1]] = table.lines[row]
    return ids


def id_column(table: DataTable) -> str | None:
    """Return the name of the column `id` or `idx`, in upper or lower case. Raises InputError where two columns could be it."""
    for usual in ("id", "idx"):
        names = [usual] if usual in table.columns else [name for name in table.columns if name.strip().lower() == usual]
        if len(names) > 1:
            raise InputError(f"{table.path}: expected one column of ids, got {one_of(names)}; rename the others")
        if names:
            return names[0]
    return None
