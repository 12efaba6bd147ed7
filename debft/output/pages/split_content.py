"""What is known of one split of a run, its classes, answers and rows, in words and numbers ready to print on its page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from debft.runs.analysis import AnalysedRow, ClassScores, SplitAnalysis

MOST_LABELS = 12  # rows of a confusion matrix on the page, and of the table of classes that is open when it is loaded
MOST_CLASSES = 100  # labels in the table of classes
HEADS = ("precision", "recall", "F1", "rows", "predicted")
KINDS = {
    "correct": "correct",
    "boundary": "boundary: overlaps a gold answer, but is not the same",
    "wrong_span": "wrong span: overlaps no gold answer",
    "missed_answer": "missed answer: said to have none",
    "answered_unanswerable": "answered, though there is no answer",
}


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A confusion matrix, as it is printed."""

    labels: list[str]
    """The labels shown, of rows and columns."""
    rows: list[list[tuple[str, float]]]
    """Count and share of the true label, 0 to 1, by true and predicted label."""
    left_out: int
    """Labels that are not shown, the rare ones."""


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """One of the worst rows, as it is printed."""

    id: str
    """Its id."""
    texts: list[tuple[str, str]]
    """Its texts by column."""
    label: str
    """What is true."""
    prediction: str
    """What was predicted, with its probability."""
    facts: str
    """Its loss, its tokens and whether it was cut."""


@dataclass(frozen=True, kw_only=True)
class SplitPart:
    """The part of the page on one split."""

    name: str
    """Name of the split."""
    anchor: str
    """Its HTML id."""
    rows: str
    """How many rows it has."""
    loss: str
    """The mean loss of its rows; empty where there is none."""
    heads: list[str]
    """What the lines of the classes hold behind the label."""
    classes: list[list[str]]
    """Label, precision, recall, F1, rows, predictions, and the threshold where there is one; of many those with the lowest F1."""
    more_classes: list[list[str]]
    """The others."""
    matrix: Matrix | None
    """The confusion matrix."""
    answers: list[tuple[str, str, str, list[ShownRow]]]
    """Kind in words, count, share and examples."""
    worst: list[ShownRow]
    """The worst rows."""
    analysis: SplitAnalysis
    """What was analysed, for the figures."""


def split_part(name: str, split: SplitAnalysis, thresholds: Mapping[str, float]) -> SplitPart:
    """Put what was analysed of a split into words. thresholds: the probability from which a label is predicted, where it has one"""
    classes = _shown_classes(split.classes)
    return SplitPart(
        name=name,
        anchor="split-" + "".join(c if c.isalnum() or c in "-_" else "-" for c in name),
        rows=f"{split.rows:,}",
        loss="" if split.loss is None else f"{split.loss:.4g}",
        heads=[*HEADS, *(["threshold"] if thresholds else [])],
        classes=[_class_line(one, thresholds) for one in classes[:MOST_LABELS]],
        more_classes=[_class_line(one, thresholds) for one in classes[MOST_LABELS:]],
        matrix=_matrix(split),
        answers=[
            (KINDS[one.kind], f"{one.questions:,}", f"{100 * one.questions / split.rows:.1f} %", list(map(_shown, one.examples)))
            for one in split.answers
        ],
        worst=list(map(_shown, split.worst)),
        analysis=split,
    )


def _class_line(one: ClassScores, thresholds: Mapping[str, float]) -> list[str]:
    line = [one.label, f"{one.precision:.1f}", f"{one.recall:.1f}", f"{one.f1:.1f}", f"{one.support:,}", f"{one.predicted:,}"]
    return line + ([f"{thresholds[one.label]:.3g}" if one.label in thresholds else ""] if thresholds else [])


def _shown_classes(classes: Sequence[ClassScores]) -> list[ClassScores]:
    """Return all labels, or of many those that the model is worst at, of the ones that the rows have."""
    if len(classes) <= MOST_LABELS:
        return list(classes)
    return sorted(classes, key=lambda one: (not one.support, one.f1, -one.support))[:MOST_CLASSES]


def _matrix(split: SplitAnalysis) -> Matrix | None:
    if not split.confusion:
        return None
    counts = Counter({(cell.label, cell.prediction): cell.rows for cell in split.confusion})
    support = {one.label: one.support for one in split.classes}
    frequent = sorted(support, key=lambda label: -support[label])[:MOST_LABELS]
    labels = [label for label in support if label in frequent]
    rows = [[(f"{counts[t, p]:,}", counts[t, p] / support[t] if support[t] else 0.0) for p in labels] for t in labels]
    return Matrix(labels=labels, rows=rows, left_out=len(support) - len(labels))


def _shown(row: AnalysedRow) -> ShownRow:
    probability = "" if isinstance(row.prediction, list) else row.scores.get(str(row.prediction))
    if probability is None:
        probability = row.scores.get("answer" if row.prediction else "no_answer", "")
    sure = f" ({probability:.2f})" if isinstance(probability, float | int) and not isinstance(row.prediction, float) else ""
    cut = ", longer than what the model reads at once" if row.cut else ""
    return ShownRow(
        id=row.id,
        texts=list(row.texts.items()),
        label=_words(row.label),
        prediction=_words(row.prediction) + sure,
        facts=f"loss {row.loss:.3g}, {row.tokens:,} tokens{cut}",
    )


def _words(value: Any) -> str:
    """Return a label, the labels, the answers or a score as text."""
    if isinstance(value, list):
        return " | ".join(dict.fromkeys(map(str, value))) or "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value) or "no answer"
