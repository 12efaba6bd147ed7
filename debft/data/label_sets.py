"""A row of the user's own data may have several labels, or none: a set of them, in whichever way files write it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from debft.data.label_names import UNSEEN, in_order, label_name, listed, look_alike, looks, some_of
from debft.data.problems import Problems
from debft.data.sources.table import DataTable
from debft.errors import InputError, shown
from debft.tasks import TextClassification

SEPARATORS = ("|", ";", ",")  # signs that files put between several labels of a cell
FEW = 20  # so many labels need not recur, as in a classification

Names = tuple[str, ...]


def names_in(value: Any, separator: str | None) -> Names | None:
    """Return the names of the labels in a cell, each once; () for a cell without one, None for what is no set of labels.

    separator: what stands between the labels of a text that is no list; None: such a text is one label
    """
    value = listed(value)
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return ()
    if not isinstance(value, list):
        value = value.split(separator) if separator and isinstance(value, str) else [value]
    names = [label_name(part) for part in value]
    known = [name for name in names if name is not None]
    return tuple(dict.fromkeys(known)) if len(known) == len(names) else None


def sets_of(column: Sequence, separator: str | None) -> list[Names | None]:
    """Return what `names_in` makes of every cell; a text that recurs is read once."""
    of_texts = {text: names_in(text, separator) for text in {value for value in column if isinstance(value, str)}}
    known: dict[Names | None, Names | None] = {}  # equal sets are one object
    read = (of_texts[value] if isinstance(value, str) else names_in(value, separator) for value in column)
    return [known.setdefault(names, names) for names in read]


def has_sets(column: Sequence) -> bool:
    """Tell whether the labels of a column are lists, some of several labels: no cell holds a label that is in no list."""
    most = 0
    for value in column:
        if isinstance(inside := listed(value), list):
            most = max(most, len(inside))
        elif names_in(value, None) != ():
            return False
    return most > 1


def labels_of_sets(table: DataTable, label_key: str, separator: str | None) -> Names:
    """Return every label of the table, in order. Raises InputError for none, and for labels that cannot be meant."""
    where, sets = f"{table.path}: {label_key}", sets_of(table.columns[label_key], separator)
    counts = Counter(name for names in sets for name in names or ())
    labels, num_given = in_order(set(counts)), sum(counts.values())
    advice = "name another column with --label-column"
    if not labels:
        first = next((value for value in table.columns[label_key] if value not in (None, "")), None)
        got = f"{shown(first)}, which is none" if first is not None else "none"
        raise InputError(f"{where}: expected sets of labels, got {got}, in {len(sets):,} rows; {advice}")
    if len(labels) > max(FEW, num_given // 2):
        raise InputError(
            f"{where}: expected labels that recur, got {len(labels):,} different ones among {num_given:,} in {len(sets):,} rows; "
            f"{advice}{'' if separator else separator_advice(labels)}"
        )
    if (pair := look_alike(labels)) is not None:
        both = " and ".join(f"{name!a} ({table.place(table.lines[_first(sets, name)])})" for name in pair)
        raise InputError(f"{where}: expected labels that look different, got {both}, which look the same; write them the same")
    if separator is None:
        check_no_combinations(table, label_key, labels)
    return labels


def _first(sets: list[Names | None], name: str) -> int:
    return next(row for row, names in enumerate(sets) if name in (names or ()))


def separator_advice(labels: Names) -> str:
    """Return `, or give --label-separator ...` for labels that look like combinations; "" for others."""
    sign = combining_sign(labels)
    return f", or give --label-separator '{sign}' for rows of several labels" if sign else ""


def check_no_combinations(table: DataTable, label_key: str, labels: Names) -> None:
    """Raise InputError for names that look like several labels each: they would be learned as one class per combination."""
    if (sign := combining_sign(labels)) is None:
        return
    rows = enumerate(label_name(listed(value)) for value in table.columns[label_key])
    row, name = next((row, name) for row, name in rows if name is not None and len(_parts(name, sign)) > 1)
    parts = {part for label in labels for part in _parts(label, sign)}
    raise InputError(
        f"{table.path}: {label_key}: expected one label in a cell, got {shown(name)} in {table.place(table.lines[row])}, which "
        f"looks like several ({len(labels)} different cells are made of {len(parts)} names); give --label-separator '{sign}', or "
        "--problem classification where each is one label"
    )


def combining_sign(labels: Names) -> str | None:
    """Return the sign by which names look like combinations of labels, None where they do not.

    They do where at least two have parts on both sides of it, and at least half of these parts recur, alone or in another name.
    """
    for sign in SEPARATORS:
        split = [_parts(label, sign) for label in labels]
        combined = [parts for parts in split if len(parts) > 1]
        counts = Counter(part for parts in split for part in set(parts))
        inside = {part for parts in combined for part in parts}
        if len(combined) > 1 and 2 * sum(counts[part] > 1 for part in inside) >= len(inside):
            return sign
    return None


def _parts(name: str, sign: str) -> Names:
    """Return the parts of a name between the signs; the whole name where one of them would be empty."""
    parts = tuple(part.strip() for part in name.split(sign))
    return parts if all(parts) else (name,)


def check_sets(column: Sequence, task: TextClassification, problems: Problems) -> list[tuple[int, ...]]:
    """Return the labels of every row by their numbers, rising; what is no set of the task's labels is a problem."""
    numbers = {label: i for i, label in enumerate(task.labels)}
    if task.numbered:  # of another program's model that names no labels
        numbers |= {str(i): i for i in range(len(task.labels))}
    labels: list[tuple[int, ...]] = []
    sets: dict[tuple[int, ...], tuple[int, ...]] = {}  # equal ones are one object
    expected = some_of(task.labels)
    for row, names in enumerate(sets_of(column, task.label_separator)):
        unknown = next((name for name in names or () if name not in numbers), None)
        if names is None:
            problems.add(row, f"{task.label_key}: expected any of {expected}, got {shown(column[row])}")
        elif unknown is not None:
            alike = next((label for label in task.labels if looks(label) == looks(unknown)), None)
            same = f"{unknown!a}, which looks like {alike!a}; write them the same"
            problems.add(row, f"{task.label_key}: expected any of {expected}, got {same if alike else shown(unknown) + UNSEEN}")
        known = tuple(sorted({numbers[name] for name in names or () if name in numbers}))
        labels.append(sets.setdefault(known, known))
    return labels


def multi_hot(labels: Sequence[tuple[int, ...]], num_labels: int) -> np.ndarray:
    """Return (N, C) float32: 1 where row n has label c, else 0."""
    hot_NC = np.zeros((len(labels), num_labels), dtype=np.float32)
    for row, numbers in enumerate(labels):
        hot_NC[row, list(numbers)] = 1.0
    return hot_NC
