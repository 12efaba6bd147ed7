"""The labels of rows are checked: classes by their names or numbers, scores, sets of labels, and the answers to questions."""

import math
from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

from debft.data.answers import check_answers, check_not_empty
from debft.data.label_names import NO_LABEL, SEVERAL, UNSEEN, label_name, looks, single, some_of
from debft.data.label_sets import check_sets, multi_hot
from debft.data.problems import Problems, Skipped
from debft.data.sources.table import DataTable
from debft.errors import InputError, shown
from debft.tasks import QuestionAnswering, Task, TextClassification

INFINITE = (2 - 2.0**-24) * 2.0**127  # the least score that is infinite in float32, in which models compute
TOO_LARGE = "; models compute with less than 3.4e+38, so divide the scores"
HIDDEN = "; -1 marks a hidden test label, which can be neither trained on nor scored"


def check_labels(table: DataTable, task: Task, problems: Problems) -> Sequence:
    """Return what every row is labelled with, as the kind of task has it."""
    if isinstance(task, QuestionAnswering):
        check_not_empty(table, task, problems)
        return check_answers(table, task, problems)
    column = table.columns[task.label_key]
    if task.is_regression and task.label_key in table.decimal_commas:
        column = [cell.replace(",", ".") for cell in column]
    if task.multilabel:
        return check_sets(column, task, problems)
    if task.value_range is not None:
        return _scores(column, task, task.value_range, problems)
    return _classes(column, task, problems)


def _classes(column: Sequence, task: TextClassification, problems: Problems) -> list[int]:
    """Return labels as integers, from names or the hub's integers; 1.0 is 1, as pandas writes it. A mix of both is refused."""
    by_name: dict[object, int] = {name: i for i, name in enumerate(task.labels)}
    by_number = {form: i for i in range(len(task.labels)) for form in (i, str(i), f"{i}.0")}
    given = column
    if not task.numbered:
        names_of = {label: label_name(single(label)) for label in {label for label in column if isinstance(label, str)}}
        column = [names_of[label] if isinstance(label, str) else label_name(single(label)) for label in column]
        by_number = {}
    plain = set(map(type, column)) <= {str, int, float}
    counts = Counter(column if plain else filter(_usable, column))
    names, numbers = (sum(counts[label] for label in lookup) for lookup in (by_name, by_number))
    lookup = by_number if numbers > names else by_name
    allowed = some_of(task.labels)
    expected = allowed if lookup is by_name else f"0 to {len(task.labels) - 1} ({allowed})"
    labels = [lookup.get(label, -1) if plain or _usable(label) else -1 for label in column]
    for row in [row for row, label in enumerate(labels) if label == -1]:
        got, advice = _unknown(column[row], given[row], task)
        problems.add(row, f"{task.label_key}: expected {expected}, got {got}{advice}")
    return labels


def _unknown(label: object, given: object, task: TextClassification) -> tuple[str, str]:
    """Return how an error shows a label that the task does not have, and the advice it gives."""
    if task.numbered:
        return shown(given), HIDDEN if label in (-1, "-1", "-1.0") else ""
    if not isinstance(label, str):
        listed = single(given)
        if not isinstance(listed, list):
            return shown(given), ""
        return shown(given), SEVERAL if len(listed) > 1 else "" if listed else NO_LABEL
    alike = next((name for name in task.labels if looks(name) == looks(label)), None)
    return (shown(given), UNSEEN) if alike is None else (ascii(label), f", which looks like {alike!a}; write them the same")


def _scores(column: Sequence, task: TextClassification, value_range: tuple[float, float], problems: Problems) -> Sequence[float]:
    """Return the scores of the rows; one that is no number, or out of the task's range, is a problem."""
    lowest, highest = value_range
    expected = "expected a number" if lowest == -math.inf else f"expected a number from {lowest:g} to {highest:g}"
    scores = array("d")
    for row, given in enumerate(column):
        label = given if task.numbered else single(given)
        try:
            score = float(label) if _usable(label) else math.nan
        except (ValueError, OverflowError):
            score = math.nan
        if not lowest <= score <= highest or abs(score) >= INFINITE:
            several = SEVERAL if isinstance(label, list) and len(label) > 1 else ""
            advice = HIDDEN if score == -1 else TOO_LARGE if INFINITE <= abs(score) < math.inf else several
            problems.add(row, f"{task.label_key}: {expected}, got {shown(given)}{advice}")
        scores.append(score)
    return scores


def _usable(label: object) -> bool:
    """Tell whether a cell can be a label: a text or a number."""
    return isinstance(label, (str, int, float)) and not isinstance(label, bool)


def as_array(labels: Sequence, task: TextClassification) -> np.ndarray:
    """Return the labels of rows as `Examples` hold those of texts."""
    if task.multilabel:
        return multi_hot(labels, len(task.labels))
    return np.array(labels, dtype=np.float32 if task.is_regression else np.int64)


def check_variety(table: DataTable, task: TextClassification, labels: Sequence, skipped: Skipped, limit: int | None) -> None:
    """Raise InputError for training rows that are all labelled alike: the model would learn to ignore the text.

    limit: only the first so many are trained on
    """
    if any(label != labels[0] for label in labels[:limit]):
        return
    if any(label != labels[0] for label in labels):
        differs = next(row for row, label in enumerate(labels, start=1) if label != labels[0])
        raise InputError(
            f"--max-train-samples {limit}: expected at least two {'scores' if task.is_regression else 'labels'} in the rows that "
            f"are trained on, got {_named(labels[0], task)} in the first {limit:,} of {table.path}; give at least {differs:,}, "
            "or shuffle the file"
        )
    name = _named(labels[0], task)
    others = [label for i, label in enumerate(task.labels) if i != labels[0]]
    expected, advice = "labels", f"rows of {' or '.join(others) or 'another label'}"
    if task.is_regression:
        expected, advice = "scores", "rows with other scores"
    left = f" rows left of {skipped.num_rows:,}" if skipped else ""
    raise InputError(
        f"{table.path}: label: expected at least two {expected} in the training rows, got {name} in all {len(labels):,}{left}; "
        f"add {advice}"
    )


def _named(label: float | tuple[int, ...], task: TextClassification) -> str:
    """Return what an error calls a label, a set of labels or a score."""
    if isinstance(label, tuple):
        return " and ".join(repr(task.labels[one]) for one in label) or "no label"
    return f"{label:g}" if task.is_regression else repr(task.labels[int(label)])
