"""Rows become examples, or one line that says which row is wrong and how."""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from debft.data.files import Table
from debft.errors import InputError, one_of
from debft.tasks import QuestionAnswering, Task

PROBLEMS_SHOWN = 3
HIDDEN = "; -1 marks a hidden test label, which can be neither trained on nor scored"


@dataclass(frozen=True, kw_only=True)
class Examples:
    """texts[i]: one or two strings; labels: (N,) int64 in the task's order, or float32 scores; ids[i]: the row, from 0;
    source: the file.
    """

    texts: list[tuple[str, ...]]
    labels: np.ndarray
    ids: list[str]
    empty_texts: int
    source: str

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, start: int, end: int) -> "Examples":
        """Rows `start` to `end`, as many as there are."""
        return replace(self, texts=self.texts[start:end], labels=self.labels[start:end], ids=self.ids[start:end])

    def fingerprint(self) -> str:
        """Hex digest of texts and labels in their order."""
        digest = hashlib.sha256()
        for texts, label in zip(self.texts, self.labels, strict=True):
            digest.update("\x1f".join((*texts, str(label), "")).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:16]


def check_rows(table: Table, task: Task, limit: int | None = None) -> Examples:
    """The first `limit` rows as examples. Every row is checked all the same.

    Raises InputError naming the first wrong row and how many more there are.
    """
    problems = _start(table, (*task.text_keys, task.label_key))
    texts = _texts(table, task, problems)
    if isinstance(task, QuestionAnswering):
        from debft.data.questions import check_answers

        labels = check_answers(table, task, problems)
    else:
        labels = _labels(table.columns["label"], task, problems)
    problems.raise_any()
    kept = len(table) if limit is None else min(limit, len(table))
    return _examples(table, task, texts[:kept], labels[:kept], [str(i) for i in range(kept)])


def check_texts(table: Table, task: Task) -> Examples:
    """The rows as examples without labels; ids are those of a column `id` or `idx` where there is one.

    Raises InputError as `check_rows`.
    """
    problems = _start(table, task.text_keys)
    texts = _texts(table, task, problems)
    problems.raise_any()
    ids = next((table.columns[name] for name in ("id", "idx") if name in table.columns), range(len(table)))
    return _examples(table, task, texts, [0] * len(texts), [str(i) for i in ids])


def _start(table: Table, wanted: tuple[str, ...]) -> "Problems":
    """Raises InputError for a missing column or a table without rows."""
    lacking = [name for name in wanted if name not in table.columns]
    if lacking:
        have = ", ".join(list(table.columns)[:8])
        raise InputError(f"{table.path}: expected the columns {', '.join(wanted)}, got {have}; '{lacking[0]}' is missing")
    if not len(table):
        raise InputError(f"{table.path}: expected rows, got none")
    return Problems(table)


def _examples(table: Table, task: Task, texts: list, labels: list, ids: list[str]) -> Examples:
    if not isinstance(task, QuestionAnswering):
        labels = np.array(labels, dtype=np.float32 if task.is_regression else np.int64)
    return Examples(
        texts=texts,
        labels=labels,
        ids=ids,
        source=table.path,
        empty_texts=sum(not text.strip() for pair in texts for text in pair),
    )


class Problems:
    """Collects what is wrong with which row."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows: list[tuple[int, str]] = []

    def add(self, row: int, what: str) -> None:
        self.rows.append((row, what))

    def raise_any(self) -> None:
        if not self.rows:
            return
        self.rows.sort()
        first, what = self.rows[0]
        more = [str(self.table.lines[row]) for row, _ in self.rows[1 : 1 + PROBLEMS_SHOWN]]
        others = len(self.rows) - 1
        tail = f" (and {others:,} more: line {', '.join(more)}{', ...' if others > len(more) else ''})" if others else ""
        raise InputError(f"{self.table.place(first)}: {what}{tail}")


def _texts(table: Table, task: Task, problems: Problems) -> list[tuple[str, ...]]:
    for key in task.text_keys:
        for row, text in enumerate(table.columns[key]):
            if not isinstance(text, str):
                problems.add(row, f"{key}: expected text, got {text!r}")
            elif not text.isascii() and any(0xD800 <= ord(c) < 0xE000 for c in text):
                problems.add(row, f"{key}: expected text, got half of a surrogate pair; the file was not written as UTF-8")
    return list(zip(*(table.columns[key] for key in task.text_keys), strict=True))


def _labels(column: list, task: Task, problems: Problems) -> list[int] | list[float]:
    return _scores(column, task.value_range, problems) if task.value_range else _classes(column, task, problems)


def label_name(value: object) -> str | None:
    """A label of own data as a name: `1`, `1.0` and "1" are the same; None for what is no label."""
    if isinstance(value, float) and value == value and abs(value) < 1e15 and value == int(value):
        value = int(value)
    name = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return name if name.strip() else None


def _classes(column: list, task: Task, problems: Problems) -> list[int]:
    """Label names or the hub's integers as integers. A file that mixes both is refused."""
    by_name: dict[object, int] = {name: i for i, name in enumerate(task.labels)}
    by_number: dict[object, int] = {i: i for i in range(len(task.labels))} | {str(i): i for i in range(len(task.labels))}
    counts = Counter(label for label in column if isinstance(label, (str, int)) and not isinstance(label, bool))
    names, numbers = (sum(counts[label] for label in lookup) for lookup in (by_name, by_number))
    lookup = by_number if numbers > names else by_name
    expected = one_of(task.labels) if lookup is by_name else f"0 to {len(task.labels) - 1} ({one_of(task.labels)})"
    labels = []
    for row, label in enumerate(column):
        usable = isinstance(label, (str, int)) and not isinstance(label, bool)
        number = lookup.get(label) if usable else None
        if number is None:
            advice = HIDDEN if label in (-1, "-1") else ""
            problems.add(row, f"label: expected {expected}, got {label!r}{advice}")
        labels.append(-1 if number is None else number)
    return labels


def _scores(column: list, value_range: tuple[float, float], problems: Problems) -> list[float]:
    lowest, highest = value_range
    scores = []
    for row, label in enumerate(column):
        try:
            score = float(label) if isinstance(label, (str, int, float)) and not isinstance(label, bool) else float("nan")
        except ValueError:
            score = float("nan")
        if not lowest <= score <= highest:
            advice = HIDDEN if score == -1 else ""
            problems.add(row, f"label: expected a number from {lowest:g} to {highest:g}, got {label!r}{advice}")
        scores.append(score)
    return scores
