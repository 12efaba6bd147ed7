"""Rows become examples, or an error of one line that says which row is wrong and how."""

import hashlib
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np

from debft.console import say
from debft.data.answers import GoldAnswers, check_answers, check_not_empty
from debft.data.label_names import NO_LABEL, SEVERAL, UNSEEN, has_half_surrogate, label_name, looks, single, some_of
from debft.data.label_sets import check_sets, multi_hot
from debft.data.problems import NOTHING_SKIPPED, Problems, Skipped
from debft.data.sources.table import DataTable
from debft.errors import InputError, one_of, shown
from debft.tasks import QuestionAnswering, Task, TextClassification

HASHED = 1000  # examples that are hashed at a time
HIDDEN = "; -1 marks a hidden test label, which can be neither trained on nor scored"


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The rows of a split have been checked and are examples now, N of them.

    texts: one or two strings of each example
    labels: (N,) int64 in the task's order, (N, C) float32 of 0 and 1 for sets of labels, (N,) float32 scores, or the GoldAnswers
        of each question
    ids: from the column `id` or `idx` where there is one, else the number of the row in its file, from 0
    empty_texts: how many texts are empty
    source: the file, or what stands for it
    skipped: the rows that were left out
    unused: the columns that are neither text nor label nor id
    label_names: what the labels of own data mean; () where the task itself has the names
    notes: what a reader of the file should know, a line for each
    hashed: the digest of examples whose texts are no longer there; None where it is computed of them
    lines: the line of each row in the file, or its number there; () where it is not known
    places: how a row is named whose line means nothing, by its entry in `lines`
    file: where the lines are, if that is not `source`
    """

    texts: Sequence[tuple[str, ...]]
    labels: np.ndarray | list[GoldAnswers]
    ids: Sequence[str]
    empty_texts: int
    source: str
    skipped: Skipped = NOTHING_SKIPPED
    unused: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    hashed: str | None = None
    lines: Sequence[int] = ()
    places: dict[int, str] = field(default_factory=dict)
    file: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def label_array(self) -> np.ndarray:
        """The labels of texts, an array."""
        assert isinstance(self.labels, np.ndarray), "questions have gold answers"
        return self.labels

    @property
    def gold_answers(self) -> list[GoldAnswers]:
        """The gold answers of questions."""
        assert not isinstance(self.labels, np.ndarray), "texts have labels"
        return self.labels

    def without_texts(self) -> "Examples":
        """Return the examples with their labels alone. The texts take most of the memory, and are read no more once encoded."""
        return replace(self, texts=(), ids=(), lines=(), places={}, hashed=self.digest)

    def place(self, row: int) -> str:
        """Return what people call a row: file and line, `train.tsv:17`, or its id where the line is not known."""
        name = PurePath(self.file or self.source).name
        if not self.lines:
            return f"{name}: {self.ids[row]}"
        line = self.lines[row]
        return f"{name}: {self.places[line]}" if line in self.places else f"{name}:{line}"

    def part(self, start: int, end: int | None) -> "Examples":
        """Return the examples `start` to `end`, or to the last."""
        ids, lines = self.ids[start:end], self.lines[start:end]
        return replace(self, texts=self.texts[start:end], labels=self.labels[start:end], ids=ids, lines=lines)

    def chosen(self, rows: Sequence[int] | np.ndarray, source: str) -> "Examples":
        """Return the examples of these rows alone, with the ids that they have among all. source: what stands for them."""
        texts = [self.texts[row] for row in rows]
        labels = self.labels[rows] if isinstance(self.labels, np.ndarray) else [self.labels[row] for row in rows]
        empty = sum(not text.strip() for pair in texts for text in pair)
        ids, lines = [self.ids[row] for row in rows], [self.lines[row] for row in rows] if self.lines else ()
        chosen = replace(self, texts=texts, labels=labels, ids=ids, lines=lines, empty_texts=empty)
        return replace(chosen, source=source, file=self.file or self.source)

    def fingerprint(self) -> str:
        """Return a hex digest of texts and labels in their order, and of the names of own labels."""
        return self.digest[:16]

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 that the fingerprint is the beginning of."""
        if self.hashed is not None:
            return self.hashed
        digest = hashlib.sha256("\x1e".join(self.label_names).encode("utf-8", "surrogatepass"))
        labels: np.ndarray | list = self.labels
        if isinstance(labels, np.ndarray) and (labels.dtype == np.int64 or labels.ndim == 2):
            labels = labels.tolist()  # of sets as well: numpy leaves numbers out of a long row's text
        for start in range(0, len(self), HASHED):
            columns = [*zip(*self.texts[start : start + HASHED], strict=True), list(map(str, labels[start : start + HASHED]))]
            cells = [""] * (len(columns) * len(columns[-1]))
            for place, column in enumerate(columns):
                cells[place :: len(columns)] = column
            digest.update("\x1f".join((*cells, "")).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def check_rows(table: DataTable, task: Task, limit: int | None = None, *, train: bool = False, skip: bool = False) -> Examples:
    """Make examples of the first `limit` rows. Every row is checked all the same.

    train: rows that nothing can be learned from are an error as well
    skip: bad rows are left out and counted; `limit` counts those that stay
    Raises InputError naming the first wrong row and how many more there are.
    """
    problems = _start(table, (*task.text_keys, task.label_key), skip)
    texts = _texts(table, task, problems)
    labels = _labels(table, task, problems)
    ids = _ids(table, problems)
    kept = problems.settle(skip)
    if train and isinstance(task, TextClassification):
        _check_variety(table, task, [labels[row] for row in kept], problems.skipped(), limit)
    return _examples(table, task, problems, kept[:limit], texts, labels, ids)


def check_texts(table: DataTable, task: Task) -> Examples:
    """Make examples without labels of the rows. Raises InputError as `check_rows` does."""
    problems = _start(table, task.text_keys)
    texts = _texts(table, task, problems)
    if isinstance(task, QuestionAnswering):
        check_not_empty(table, task, problems)
    ids = _ids(table, problems)
    labels = [() if isinstance(task, QuestionAnswering) or task.multilabel else 0] * len(texts)
    return _examples(table, task, problems, problems.settle(skip=False), texts, labels, ids)


def _start(table: DataTable, needed: tuple[str, ...], skip: bool = False) -> Problems:
    """Begin with the rows that could not be read. Raises InputError for a missing column or a table without rows."""
    problems = Problems(table)
    if not table.columns and not len(table):
        problems.settle(skip)  # no row could be read: raises
    lacking = [name for name in needed if name not in table.columns]
    if lacking:
        have = ", ".join(list(table.columns)[:8]) or "no column"
        raise InputError(f"{table.path}: expected the columns {', '.join(needed)}, got {have}; '{lacking[0]}' is missing")
    if not len(table):
        problems.settle(skip)
    return problems


def _examples(
    table: DataTable, task: Task, problems: Problems, kept: list[int], texts: list, labels: list, ids: list[str]
) -> Examples:
    texts, labels = [texts[row] for row in kept], [labels[row] for row in kept]
    return Examples(
        texts=texts,
        labels=_as_array(labels, task) if isinstance(task, TextClassification) else labels,
        ids=[ids[row] for row in kept],
        source=table.path,
        empty_texts=sum(not text.strip() for pair in texts for text in pair),
        skipped=problems.skipped(),
        unused=unused_columns(table, (*task.text_keys, task.label_key)),
        label_names=task.labels if isinstance(task, TextClassification) and not task.numbered else (),
        notes=(*table.notes, *_note_on_commas(table, task)),
        lines=[table.lines[row] for row in kept],
        places=table.places,
    )


def _as_array(labels: list, task: TextClassification) -> np.ndarray:
    """Return the labels of rows as `Examples` hold those of texts."""
    if task.multilabel:
        return multi_hot(labels, len(task.labels))
    return np.array(labels, dtype=np.float32 if task.is_regression else np.int64)


def label_in_words(label: Any, task: TextClassification) -> str:
    """Return what a line calls a score, a label or a set of labels, as `Examples` hold it."""
    if task.is_regression:
        return f"{label:g}"
    if task.multilabel:
        return " and ".join(task.labels[i] for i in np.flatnonzero(label)) or "with nothing"
    return task.labels[label]


def unused_columns(table: DataTable, used: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that are neither used nor ids, nor objects with a field that is used."""
    whole = [name for name in table.columns if name not in (*used, id_column(table))]
    return tuple(name for name in whole if not any(key.startswith(f"{name}.") for key in used))


def _note_on_commas(table: DataTable, task: Task) -> Iterator[str]:
    """Give the line that says how scores with decimal commas were read, where there are such."""
    if isinstance(task, TextClassification) and task.is_regression and task.label_key in table.decimal_commas:
        first = next(cell for cell in table.columns[task.label_key] if "," in cell)
        yield f"{task.label_key}: decimal commas read as points: {first} is {first.replace(',', '.')}"


def _check_variety(table: DataTable, task: TextClassification, labels: list, skipped: Skipped, limit: int | None) -> None:
    """Raise InputError for training rows that are all labelled alike: the model would learn to ignore the text.

    limit: only the first so many are trained on
    """
    if len(set(labels[:limit])) > 1:
        return
    if len(set(labels)) > 1:
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


def _ids(table: DataTable, problems: Problems) -> list[str]:
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


def _texts(table: DataTable, task: Task, problems: Problems) -> list[tuple[str, ...]]:
    """Return the texts of every row, one or two, whatever they are: what is no text is a problem."""
    for key in task.text_keys:
        column = table.columns[key]
        for row in [row for row, text in enumerate(column) if not isinstance(text, str) or has_half_surrogate(text)]:
            if not isinstance(column[row], str):
                problems.add(row, f"{key}: expected text, got {shown(column[row])}")
            else:
                problems.add(row, f"{key}: expected text, got half of a surrogate pair; the file was not written as UTF-8")
    return list(zip(*(table.columns[key] for key in task.text_keys), strict=True))


def _labels(table: DataTable, task: Task, problems: Problems) -> list:
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


def _classes(column: list, task: TextClassification, problems: Problems) -> list[int]:
    """Return labels as integers, from names or the hub's integers; 1.0 is 1, as pandas writes it. A mix of both is refused."""
    by_name: dict[object, int] = {name: i for i, name in enumerate(task.labels)}
    by_number = {form: i for i in range(len(task.labels)) for form in (i, str(i), f"{i}.0")}
    given = column
    if not task.numbered:
        names_of = {label: label_name(single(label)) for label in {label for label in column if isinstance(label, str)}}
        column = [names_of[label] if isinstance(label, str) else label_name(single(label)) for label in column]
        by_number = {}
    counts = Counter(filter(_usable, column))
    names, numbers = (sum(counts[label] for label in lookup) for lookup in (by_name, by_number))
    lookup = by_number if numbers > names else by_name
    allowed = some_of(task.labels)
    expected = allowed if lookup is by_name else f"0 to {len(task.labels) - 1} ({allowed})"
    labels = [lookup.get(label, -1) if _usable(label) else -1 for label in column]
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


def _scores(column: list, task: TextClassification, value_range: tuple[float, float], problems: Problems) -> list[float]:
    """Return the scores of the rows; one that is no number, or out of the task's range, is a problem."""
    lowest, highest = value_range
    expected = "expected a number" if lowest == -math.inf else f"expected a number from {lowest:g} to {highest:g}"
    scores = []
    for row, given in enumerate(column):
        label = given if task.numbered else single(given)
        try:
            score = float(label) if _usable(label) else math.nan
        except (ValueError, OverflowError):
            score = math.nan
        if not lowest <= score <= highest or math.isinf(score):
            advice = HIDDEN if score == -1 else SEVERAL if isinstance(label, list) and len(label) > 1 else ""
            problems.add(row, f"{task.label_key}: {expected}, got {shown(given)}{advice}")
        scores.append(score)
    return scores


def _usable(label: object) -> bool:
    """Tell whether a cell can be a label: a text or a number."""
    return isinstance(label, (str, int, float)) and not isinstance(label, bool)


def say_skipped(examples: dict[str, Examples]) -> None:
    """Write a line for each split that rows were left out of: how many, which and why."""
    for name, kept in examples.items():
        if kept.skipped:
            say(f"{name}: {kept.skipped}")


def say_notes(examples: Iterable[Examples]) -> None:
    """Write what a reader of the files should know, each line once."""
    for note in dict.fromkeys(note for kept in examples for note in kept.notes):
        say(note)
