"""Rows that are each in order can be wrong together: trained on and scored, told twice, told to be two things, or too few.

Nothing here changes a row. Texts are the same in the sense of same_texts.py; of a pair, both must be.
"""

from collections.abc import Iterable, Mapping, Sequence, Sized
from itertools import islice

import numpy as np

from debft.data.examples import Examples, label_in_words
from debft.data.giveaways import labels_in_texts
from debft.data.label_names import is_blank
from debft.data.near_duplicates import near_duplicates
from debft.data.same_texts import Twins, same_rows
from debft.data.sources.own import quoted
from debft.runs.result import RowWarning, WarningKind
from debft.tasks import TEXT, Task, TextClassification

SHOWN = 3  # examples of a warning
FEW = 5  # rows of a label, below which little can be learned


def row_warnings(
    task: Task,
    examples: Mapping[str, Examples],
    label_counts: Mapping[str, int],
    *,
    giveaways: Sequence[str] = (),
    near: bool = False,
) -> list[RowWarning]:
    """Return what a reader should know of the rows of a run before it trains.

    examples: the rows by the name of the split
    label_counts: training rows of each label; {} for a task without labels
    giveaways: columns that tell the label of nearly every training row
    near: whether eval rows are also compared with training rows that are nearly the same: half a minute for 100,000 of them
    """
    name = task.train.name
    train, evals = examples[name], {split.name: examples[split.name] for split in task.evals}
    repeated, leaks = same_rows(train.texts, {split: rows.texts for split, rows in evals.items()})
    return [
        *_empty_texts(task, examples),
        *_leaks(task, evals, train, leaks),
        *(_near(name, evals, train, leaks) if near else ()),
        *_repetitions(name, train, repeated),
        *_two_labels(task, train, repeated),
        *_few_rows(name, len(train), label_counts),
        *_named(task, train),
        *_giveaways(task, len(train), giveaways),
    ]


def _empty_texts(task: Task, examples: Mapping[str, Examples]) -> Iterable[RowWarning]:
    for split in task.splits:
        if number := examples[split.name].empty_texts:
            rows = examples[split.name]
            empty = [row for row, texts in enumerate(rows.texts) if any(is_blank(text) for text in texts)]
            what = f"{number:,} empty {split.name} text{'s' if number > 1 else ''}, kept"
            yield _warning("empty", split.name, empty, len(rows), what, map(rows.place, empty))


def _leaks(task: Task, evals: Mapping[str, Examples], train: Examples, leaks: Mapping[str, Twins]) -> Iterable[RowWarning]:
    for split, leaked in leaks.items():
        rows = evals[split]
        if len(leaked):
            what = f"{_some(leaked, rows, split)} in {task.train.name} as well"
            if isinstance(task, TextClassification):
                other = int(_differ(rows.label_array[leaked[:, 0]], train.label_array[leaked[:, 1]]).sum())
                what += f", {other:,} of them with another {'score' if task.is_regression else 'label'}" if other else ""
            yield _warning("leak", split, leaked, len(rows), what, _in_words(rows, train, leaked))


def _near(name: str, evals: Mapping[str, Examples], train: Examples, leaks: Mapping[str, Twins]) -> Iterable[RowWarning]:
    for split, found in near_duplicates(train, evals).items():
        rows, same = evals[split], set(leaks[split][:, 0].tolist())
        alike = np.array([pair for pair in found.twins if pair[0] not in same], dtype=np.int64).reshape(-1, 2)
        if len(alike) or found.unsure:
            what = f"{_some(alike, rows, split)} nearly the same as one of {name}"
            if found.unsure:
                what += f" ({found.unsure:,} others resemble so many that not all of those were compared)"
            yield _warning("near_duplicate", split, alike, len(rows), what, _in_words(rows, train, alike))


def _repetitions(name: str, train: Examples, repeated: Twins) -> Iterable[RowWarning]:
    if len(repeated):
        what = f"{_some(repeated, train, name)} the same as an earlier one"
        yield _warning("duplicate", name, repeated, len(train), what, _in_words(train, train, repeated))


def _two_labels(task: Task, train: Examples, repeated: Twins) -> Iterable[RowWarning]:
    """Warn of texts with two labels: the first row of the text, and the first one with another label."""
    if not isinstance(task, TextClassification):
        return
    other = repeated[_differ(train.label_array[repeated[:, 0]], train.label_array[repeated[:, 1]])]
    _, places = np.unique(other[:, 1], return_index=True)
    if torn := [(first, row) for row, first in other[np.sort(places)].tolist()]:
        labels = "scores" if task.is_regression else "labels"
        what = f"{len(torn):,} text{'s have' if len(torn) > 1 else ' has'} two {labels} in {task.train.name}"
        both = (", ".join(_labelled(train, row, task) for row in pair) for pair in torn)
        yield _warning("two_labels", task.train.name, torn, len(train), what, both)


def _differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Tell which rows have other labels, of labels or sets of them, (M,)."""
    differ = one != other
    return differ.any(axis=1) if differ.ndim == 2 else differ


def _labelled(train: Examples, row: int, task: TextClassification) -> str:
    return f"{label_in_words(train.labels[row], task)} in {train.place(row)}"


def _few_rows(name: str, num_rows: int, label_counts: Mapping[str, int]) -> Iterable[RowWarning]:
    if few := {label: count for label, count in label_counts.items() if 0 < count < FEW}:
        what = f"{len(few):,} label{'s have' if len(few) > 1 else ' has'} fewer than {FEW} {name} rows"
        counts = (f"{label} {count}" for label, count in sorted(few.items(), key=lambda item: item[1]))
        yield _warning("few_rows", name, few, num_rows, what, counts)


def _named(task: Task, train: Examples) -> Iterable[RowWarning]:
    if not isinstance(task, TextClassification) or task.name != TEXT.name or task.is_regression:
        return
    if named := labels_in_texts(train, task):
        name = task.train.name
        what = f"the {name} texts name their label, so that the model may learn to read that off"
        yield _warning("label_in_text", name, named, len(train), what, named)


def _giveaways(task: Task, num_rows: int, columns: Sequence[str]) -> Iterable[RowWarning]:
    name = task.train.name
    read = [column for column in columns if column in task.text_keys]
    unread = [column for column in columns if column not in task.text_keys]
    if read:
        what = f"the {task.label_key} of nearly every {name} row can be told from a text of few values"
        yield _warning("giveaway", name, read, num_rows, what, map(quoted, read))
    if unread:
        what = f"the {task.label_key} of nearly every {name} row can be told from a column that is not read; leave it so"
        yield _warning("giveaway", name, unread, num_rows, what, map(quoted, unread))


def _some(odd: Sized, rows: Examples, split: str) -> str:
    return f"{len(odd):,} of {len(rows):,} {split} rows {'are' if len(odd) != 1 else 'is'}"


def _in_words(rows: Examples, others: Examples, twins: Twins) -> Iterable[str]:
    """Give for each pair the places of both; the second one without its file where that is the same."""
    for row, twin in twins[:SHOWN].tolist():
        place, other = rows.place(row), others.place(twin)
        file = place.partition(":")[0]
        yield f"{place} and {other.removeprefix(f'{file}:').strip()}"


def _warning(kind: WarningKind, split: str, odd: Sized, of: int, what: str, examples: Iterable[str]) -> RowWarning:
    """Return the warning with the first few of its examples, which are made only as far as they are shown."""
    return RowWarning(kind=kind, split=split, count=len(odd), of=of, what=what, examples=list(islice(examples, SHOWN)))
