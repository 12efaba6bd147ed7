"""A label that can be read off a row is learned instead of the text: off another column, or off the text itself."""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from debft.data.examples import Examples
from debft.data.label_names import label_name, single
from debft.data.rows import unused_columns
from debft.data.sources.table import DataTable
from debft.data.sources.text_columns import is_unparted
from debft.tasks import TextClassification

FEWEST_ROWS = 20  # of a table, below which chance alone would find a column
FEWEST_OF_LABEL = 5  # rows of a label, below which its name in all of them may be chance
MOST_VALUES = 20  # different numbers of a column, above which it is cut into as many parts of equal size
GIVEN_AWAY = 0.9  # of the errors that the most frequent label makes, the share that the column avoids
CORRELATED = 0.99  # Pearson's correlation of a column with a score
NAMED = 0.95  # of the rows of a label, the share whose texts hold its name; half as many of the others at most

Cell = str | int | float


def giveaway_columns(table: DataTable, task: TextClassification) -> list[str]:
    """Return the columns of which one knows the label, or the score, of nearly every row, but for that of the labels itself.

    A column is judged by the label that the other rows with its value have most often, so that values that never recur give nothing
    away. One that is read as a text counts only where its values are few.
    """
    if len(table) < FEWEST_ROWS:
        return []
    others = unused_columns(table, (*task.text_keys, task.label_key))
    read = task.text_keys if len(task.text_keys) > 1 else ()
    columns = {name: list(map(_plain, table.columns[name])) for name in (*read, *others)}
    cells = table.columns[task.label_key]
    if task.is_regression:
        scores = _numbers([str(single(cell)).replace(",", ".") for cell in cells])
        return [name for name, values in columns.items() if scores is not None and _gives_score_away(values, scores)]
    labels = [str(cell) if task.multilabel else label_name(single(cell)) for cell in cells]
    few = len(table) // 10
    return [
        name
        for name, values in columns.items()
        if (name not in task.text_keys or len(set(values)) <= few) and _gives_label_away(_parts(values), labels)
    ]


def _plain(cell: object) -> Cell:
    return cell if isinstance(cell, str | int | float) else str(cell)


def _numbers(values: Sequence[Cell]) -> np.ndarray | None:
    """Return the values as float64, (N,); None where one is no finite number."""
    try:
        numbers_N = np.array([float(value) for value in values])
    except (ValueError, OverflowError):
        return None
    return numbers_N if np.isfinite(numbers_N).all() else None


def _parts(values: Sequence[Cell]) -> Sequence[Cell]:
    """Return the values, or of many different numbers the twentieth that each is in; () for numbers that count the rows."""
    if len(set(values)) <= MOST_VALUES or (numbers_N := _numbers(values)) is None:
        return values
    if (np.diff(numbers_N) > 0).all():
        return ()
    edges = np.quantile(numbers_N, np.linspace(0, 1, MOST_VALUES + 1)[1:-1])
    return np.searchsorted(edges, numbers_N).tolist()


def _gives_label_away(values: Sequence[Hashable], labels: Sequence[str | None]) -> bool:
    """Tell whether the values avoid most of the errors that one makes who always says the most frequent label."""
    by_value: dict[Hashable, list[int]] = defaultdict(list)
    for (value, _), count in Counter(zip(values, labels, strict=False)).items():
        by_value[value].append(count)
    known = 0
    for counts in by_value.values():
        most, second = sorted([*counts, 0])[-1], sorted([*counts, 0])[-2]
        known += most if most - 1 > second else 0
    usual = max(Counter(labels).values())
    return known - usual >= GIVEN_AWAY * (len(labels) - usual) > 0


def _gives_score_away(values: Sequence[Cell], scores_N: np.ndarray) -> bool:
    numbers_N = _numbers(values)
    if numbers_N is None or not numbers_N.std() or not scores_N.std():
        return False
    return abs(np.corrcoef(numbers_N, scores_N)[0, 1]) >= CORRELATED


def labels_in_texts(train: Examples, task: TextClassification) -> list[str]:
    """Return in words each label whose name nearly every one of its rows holds as a word, and the other rows seldom do."""
    texts = [" ".join(texts).casefold() for texts in train.texts]
    found, labels = [], train.label_array
    for number, label in enumerate(task.labels):
        has_N = labels[:, number] > 0 if task.multilabel else labels == number
        own, others = np.flatnonzero(has_N), np.flatnonzero(~has_N)
        word = re.compile(_as_word(label.casefold()))
        here = sum(bool(word.search(texts[row])) for row in own)
        if len(own) < FEWEST_OF_LABEL or here < NAMED * len(own):
            continue
        elsewhere = sum(bool(word.search(texts[row])) for row in others)
        if elsewhere * len(own) <= here * len(others) / 2:
            found.append(f"{label!r} in {here:,} of {len(own):,}, in {elsewhere:,} of {len(others):,} others")
    return found


def _as_word(text: str) -> str:
    """Return the pattern of a text that stands by itself, where its script parts words."""
    return re.escape(text) if is_unparted(text) else rf"(?<!\w){re.escape(text)}(?!\w)"
