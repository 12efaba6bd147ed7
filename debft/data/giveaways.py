"""A label that can be read off a row is learned instead of the text: off another column, or off the text itself."""

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import count

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
AT_ONCE = 2**13  # rows whose texts are looked through at a time
UNLIKE_ALL = -(2**62)  # lower than every hash of a number, and no likely one of a text

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
    cells, names = table.columns[task.label_key], (*read, *others)
    if task.is_regression:
        scores = _numbers(str(single(cell)).replace(",", ".") for cell in cells) if names else None
        return [name for name in names if scores is not None and _gives_score_away(table.columns[name], scores)]
    if not names:
        return []
    labels_N = _numbered(str(cell) if task.multilabel else label_name(single(cell)) for cell in cells)
    few = len(table) // 10
    return [name for name in names if _gives_label_away(table.columns[name], labels_N, few if name in task.text_keys else None)]


def _plain(cell: object) -> Cell:
    return cell if isinstance(cell, str | int | float) else str(cell)


def _numbers(values: Iterable[Cell]) -> np.ndarray | None:
    """Return the values as float64, (N,); None where one is no finite number."""
    try:
        numbers_N = np.fromiter(map(float, values), np.float64)
    except (ValueError, OverflowError):
        return None
    return numbers_N if np.isfinite(numbers_N).all() else None


def _numbered(values: Iterable[Hashable]) -> np.ndarray:
    """Return a number from 0 for each value, (N,) int64, the same for equal ones. In memory are 8 bytes of each, not the values."""
    unlike = count(1)  # a NaN equals no other
    hashes_N = np.fromiter((_hash(value, unlike) for value in values), np.int64)
    return np.unique(hashes_N, return_inverse=True)[1]


def _hash(value: Hashable, unlike: Iterator[int]) -> int:
    if value == -1:  # whose hash is that of -2
        return UNLIKE_ALL
    return hash(value) if value == value else UNLIKE_ALL - next(unlike)


def _parts(column: Sequence, values_N: np.ndarray) -> np.ndarray:
    """Return the numbered values, or of many different numbers the twentieth that each is in; none where they count the rows."""
    if values_N.max() < MOST_VALUES or (numbers_N := _numbers(map(_plain, column))) is None:
        return values_N
    if (np.diff(numbers_N) > 0).all():
        return np.zeros(0, np.int64)
    edges = np.quantile(numbers_N, np.linspace(0, 1, MOST_VALUES + 1)[1:-1])
    return np.searchsorted(edges, numbers_N)


def _gives_label_away(column: Sequence, labels_N: np.ndarray, most_values: int | None) -> bool:
    """Tell whether the values avoid most of the errors that one makes who always says the most frequent label.

    most_values: of a column that is read, above which it does not count
    """
    values_N = _numbered(map(_plain, column))
    if most_values is not None and values_N.max() >= most_values:
        return False
    values_N = _parts(column, values_N)
    usual = int(np.bincount(labels_N).max())
    known = _known(values_N, labels_N[: len(values_N)]) if len(values_N) else 0
    return known - usual >= GIVEN_AWAY * (len(labels_N) - usual) > 0


def _known(values_N: np.ndarray, labels_N: np.ndarray) -> int:
    """Return the rows whose label is told by the label that the other rows with its value have most often."""
    pairs, counts = np.unique(values_N * (labels_N.max() + 1) + labels_N, return_counts=True)
    value_of = pairs // (labels_N.max() + 1)
    order = np.lexsort((-counts, value_of))
    counts, begins = counts[order], np.flatnonzero(np.diff(value_of, prepend=-1))
    most = counts[begins]
    has_second = np.diff(np.append(begins, len(counts))) > 1
    second = np.where(has_second, counts[np.minimum(begins + 1, len(counts) - 1)], 0)
    return int(most[most - 1 > second].sum())


def _gives_score_away(column: Sequence, scores_N: np.ndarray) -> bool:
    numbers_N = _numbers(map(_plain, column))
    if numbers_N is None or not numbers_N.std() or not scores_N.std():
        return False
    return bool(abs(np.corrcoef(numbers_N, scores_N)[0, 1]) >= CORRELATED)


def labels_in_texts(train: Examples, task: TextClassification) -> list[str]:
    """Return in words each label whose name nearly every one of its rows holds as a word, and the other rows seldom do."""
    labels, counts = train.label_array, _rows_of_labels(train.label_array, task)
    words = [re.compile(_as_word(label.casefold())) for label in task.labels]
    here = _naming(train, task, words, own=True)
    named = [number for number, own in enumerate(counts) if own >= FEWEST_OF_LABEL and here[number] >= NAMED * own]
    elsewhere = _naming(train, task, [word if number in named else None for number, word in enumerate(words)], own=False)
    return [
        f"{task.labels[number]!r} in {here[number]:,} of {counts[number]:,}, in {elsewhere[number]:,} of {others:,} others"
        for number in named
        if elsewhere[number] * counts[number] <= here[number] * (others := len(labels) - counts[number]) / 2
    ]


def _rows_of_labels(labels: np.ndarray, task: TextClassification) -> list[int]:
    """Return the rows of each label."""
    return (np.count_nonzero(labels > 0, axis=0) if task.multilabel else np.bincount(labels, minlength=len(task.labels))).tolist()


def _naming(train: Examples, task: TextClassification, words: Sequence[re.Pattern | None], *, own: bool) -> list[int]:
    """Return for each label of how many rows the texts hold its word: rows that have the label, or the others with `own=False`.

    words: None for a label that is not asked for
    """
    counts, asked = [0] * len(words), [(number, word) for number, word in enumerate(words) if word is not None]
    for start in range(0, len(train) if asked else 0, AT_ONCE):
        labels = train.label_array[start : start + AT_ONCE]
        texts = [" ".join(texts).casefold() for texts in train.texts[start : start + AT_ONCE]]
        for number, word in asked:
            has_N = labels[:, number] > 0 if task.multilabel else labels == number
            counts[number] += sum(bool(word.search(texts[row])) for row in np.flatnonzero(has_N == own).tolist())
    return counts


def _as_word(text: str) -> str:
    """Return the pattern of a text that stands by itself, where its script parts words."""
    return re.escape(text) if is_unparted(text) else rf"(?<!\w){re.escape(text)}(?!\w)"
