"""Examples are the checked rows of a split, as everything behind the reading of rows takes them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np

from debft.console import say
from debft.data.answers import GoldAnswers
from debft.data.label_names import is_blank
from debft.data.problems import NOTHING_SKIPPED, Skipped
from debft.data.stored import chosen
from debft.tasks import TextClassification

HASHED = 1000  # examples that are hashed at a time


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
        """Return the examples with labels and ids alone. The texts take most of the memory, and are read no more once encoded."""
        return replace(self, texts=(), lines=(), places={}, hashed=self.digest)

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
        texts = chosen(self.texts, rows)
        labels = self.labels[rows] if isinstance(self.labels, np.ndarray) else [self.labels[row] for row in rows]
        empty = sum(is_blank(text) for pair in texts for text in pair)
        ids, lines = chosen(self.ids, rows), chosen(self.lines, rows) if self.lines else ()
        some = replace(self, texts=texts, labels=labels, ids=ids, lines=lines, empty_texts=empty)
        return replace(some, source=source, file=self.file or self.source)

    def fingerprint(self) -> str:
        """Return a hex digest of texts and labels in their order, and of the names of own labels."""
        return self.digest[:16]

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 that the fingerprint is the beginning of."""
        if self.hashed is not None:
            return self.hashed
        digest = hashlib.sha256("\x1e".join(self.label_names).encode("utf-8", "surrogatepass"))
        for start in range(0, len(self), HASHED):
            labels: np.ndarray | list = self.labels[start : start + HASHED]
            if isinstance(labels, np.ndarray) and (labels.dtype == np.int64 or labels.ndim == 2):
                labels = labels.tolist()  # of sets as well: numpy leaves numbers out of a long row's text
            columns = [*zip(*self.texts[start : start + HASHED], strict=True), list(map(str, labels))]
            cells = [""] * (len(columns) * len(columns[-1]))
            for place, column in enumerate(columns):
                cells[place :: len(columns)] = column
            digest.update("\x1f".join((*cells, "")).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def label_in_words(label: Any, task: TextClassification) -> str:
    """Return what a line calls a score, a label or a set of labels, as `Examples` hold it."""
    if task.is_regression:
        return f"{label:g}"
    if task.multilabel:
        return " and ".join(task.labels[i] for i in np.flatnonzero(label)) or "with nothing"
    return task.labels[label]


def say_skipped(examples: dict[str, Examples]) -> None:
    """Write a line for each split that rows were left out of: how many, which and why."""
    for name, kept in examples.items():
        if kept.skipped:
            say(f"{name}: {kept.skipped}")


def say_notes(examples: Iterable[Examples]) -> None:
    """Write what a reader of the files should know, each line once."""
    for note in dict.fromkeys(note for kept in examples for note in kept.notes):
        say(note)
