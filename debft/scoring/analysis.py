"""The predictions of a split are analysed: which labels, which kinds of answers and which rows the model gets wrong.

Legend: N rows, C labels, P pairs of a row and a label.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np

from debft.data.examples import Examples
from debft.runs.analysis import (
    AnalysedRow,
    AnswerKind,
    Calibration,
    CalibrationBin,
    ClassScores,
    ConfusedCell,
    HistogramBin,
    KindOfAnswer,
    Residuals,
    SplitAnalysis,
)
from debft.scoring.metrics import squad
from debft.tasks import QuestionAnswering, Task

WORST = 50  # rows that are shown of a split
EXAMPLES = 10  # of each kind of wrong answer
BINS = 10  # of a calibration and of a histogram
LEAST_PROBABILITY = 5e-7  # the predictions have six decimals
LONGEST_TEXT = 2000  # characters of a text that are shown
KINDS: tuple[KindOfAnswer, ...] = get_args(KindOfAnswer)

Row = Mapping[str, Any]
TokensOf = Callable[[list[tuple[str, ...]]], list[tuple[int, bool]]]  # texts of rows -> (tokens, whether they were cut) of each


def analysis_of(task: Task, rows: Sequence[Row], examples: Examples, tokens_of: TokensOf) -> SplitAnalysis:
    """Analyse the predictions of a split. rows: as `predictions/<split>.jsonl` has them, in the order of the examples."""
    show = _Shown(task, rows, examples, tokens_of)
    if isinstance(task, QuestionAnswering):
        return _of_questions(rows, examples, show)
    if task.is_regression:
        return _of_scores(rows, show)
    losses_N = np.array([cross_entropy(row) for row in rows])
    several = task.multilabel
    labels = list(rows[0]["scores"]) if rows else []
    return SplitAnalysis(
        rows=len(rows),
        loss=float(losses_N.mean()),
        label_counts=dict(Counter(label for row in rows for label in _as_list(row["label"]))),
        classes=class_scores(rows, labels),
        confusion=[] if several else confusion(rows, labels),
        calibration=calibration(*_predictions(rows, labels, several)),
        worst=show.worst(losses_N),
    )


def class_scores(rows: Sequence[Row], labels: Sequence[str]) -> list[ClassScores]:
    """Return precision, recall and F1 of each label, in the order of `labels`."""
    support: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    both: Counter[str] = Counter()
    for row in rows:
        true, guessed = _as_list(row["label"]), _as_list(row["prediction"])
        support.update(true)
        predicted.update(guessed)
        both.update(set(true) & set(guessed))
    return [
        ClassScores(
            label=label,
            precision=_percent(both[label], predicted[label]),
            recall=_percent(both[label], support[label]),
            f1=_percent(2 * both[label], support[label] + predicted[label]),
            support=support[label],
            predicted=predicted[label],
        )
        for label in labels
    ]


def confusion(rows: Sequence[Row], labels: Sequence[str]) -> list[ConfusedCell]:
    """Return the cells of the confusion matrix that have rows, label by label, the predictions in the same order."""
    counts, place = Counter((row["label"], row["prediction"]) for row in rows), {label: i for i, label in enumerate(labels)}
    cells = sorted(counts, key=lambda cell: (place[cell[0]], place[cell[1]]))
    return [ConfusedCell(label=label, prediction=prediction, rows=counts[label, prediction]) for label, prediction in cells]


def calibration(probability_P: np.ndarray, right_P: np.ndarray) -> Calibration:
    """Return how often predictions are right beside what their probabilities say.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, equation 5, with ten bins of the same width, closed above.
    """
    place_P = np.clip(np.ceil(probability_P * BINS).astype(int) - 1, 0, BINS - 1)
    counts, bins = np.bincount(place_P, minlength=BINS), []
    probability_B, right_B = (np.bincount(place_P, weights=values, minlength=BINS) for values in (probability_P, right_P))
    for b, count in enumerate(counts.tolist()):
        probability, right = _percent(probability_B[b], count), _percent(right_B[b], count)
        bins.append(CalibrationBin(low=b / BINS, high=(b + 1) / BINS, predictions=count, probability=probability, right=right))
    error = sum(abs(one.probability - one.right) * one.predictions for one in bins) / max(len(place_P), 1)
    return Calibration(error=round(error, 4), bins=bins)


def cross_entropy(row: Row) -> float:
    """Return the loss of a row: minus the logarithm of the probability of its label, or the mean over its possible labels."""
    if not isinstance(row["label"], list):
        return float(-np.log(max(row["scores"][row["label"]], LEAST_PROBABILITY)))
    right = [p if label in row["label"] else 1 - p for label, p in row["scores"].items()]
    return float(-np.log(np.maximum(right, LEAST_PROBABILITY)).mean())


def answer_kind(row: Row, gold: Sequence[tuple[str, int]]) -> KindOfAnswer:
    """Return the kind of an answer. gold: text and first character of each gold answer, () where there is none."""
    if not gold:
        return "answered_unanswerable" if row["prediction"] else "correct"
    if squad.exact_match(row["prediction"], [text for text, _ in gold]):
        return "correct"
    if not row["prediction"]:
        return "missed_answer"
    overlaps = any(row["start"] < start + len(text) and start < row["end"] for text, start in gold)
    return "boundary" if overlaps else "wrong_span"


def _of_scores(rows: Sequence[Row], show: "_Shown") -> SplitAnalysis:
    errors_N = np.array([row["prediction"] - row["label"] for row in rows], dtype=np.float64)
    counts, edges = np.histogram(errors_N, bins=BINS)
    residuals = Residuals(
        mean=float(errors_N.mean()),
        mean_absolute=float(np.abs(errors_N).mean()),
        root_mean_square=float(np.sqrt((errors_N**2).mean())),
        bins=[
            HistogramBin(low=low, high=high, rows=count)
            for low, high, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
        ],
    )
    return SplitAnalysis(rows=len(rows), loss=float((errors_N**2).mean()), residuals=residuals, worst=show.worst(errors_N**2))


def _of_questions(rows: Sequence[Row], examples: Examples, show: "_Shown") -> SplitAnalysis:
    """Rank wrong answers by their probability: what the model is certain of and wrong about comes first."""
    kinds = [answer_kind(row, gold) for row, gold in zip(rows, examples.gold_answers, strict=True)]
    certain_N = np.array([row["scores"]["answer"] if row["prediction"] else row["scores"].get("no_answer", 0.0) for row in rows])
    by_kind = {kind: np.flatnonzero([one == kind for one in kinds]) for kind in KINDS}
    wrong = np.flatnonzero([kind != "correct" for kind in kinds])
    return SplitAnalysis(
        rows=len(rows),
        answers=[
            AnswerKind(
                kind=kind, questions=len(numbers), examples=[] if kind == "correct" else show.worst(certain_N, numbers, EXAMPLES)
            )
            for kind, numbers in by_kind.items()
        ],
        worst=show.worst(certain_N, wrong),
    )


class _Shown:
    """This makes rows with their texts of the rows that are to be shown."""

    def __init__(self, task: Task, rows: Sequence[Row], examples: Examples, tokens_of: TokensOf) -> None:
        self.keys, self.rows, self.texts, self.tokens_of = task.text_keys, rows, examples.texts, tokens_of

    def worst(self, losses_N: np.ndarray, among: np.ndarray | None = None, most: int = WORST) -> list[AnalysedRow]:
        """Return the rows with the largest losses, of those `among` which to choose; of equal ones the earlier."""
        among = np.arange(len(losses_N)) if among is None else among
        among = among.astype(np.int64)
        numbers = among[np.argsort(-losses_N[among], kind="stable")[:most]].tolist()
        return [
            AnalysedRow(
                id=self.rows[i]["id"],
                texts={key: _in_part(text) for key, text in zip(self.keys, self.texts[i], strict=True)},
                label=self.rows[i]["label"],
                prediction=self.rows[i]["prediction"],
                scores=self.rows[i]["scores"],
                loss=round(float(losses_N[i]), 6),
                tokens=tokens,
                cut=cut,
            )
            for i, (tokens, cut) in zip(numbers, self.tokens_of([self.texts[i] for i in numbers]), strict=True)
        ]


def _predictions(rows: Sequence[Row], labels: Sequence[str], several: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each prediction and whether it is right: of the best label of a row, or of each possible one."""
    if several:
        pairs = [(row["scores"][label], label in row["label"]) for row in rows for label in labels]
    else:
        pairs = [(row["scores"][row["prediction"]], row["prediction"] == row["label"]) for row in rows]
    return np.array([p for p, _ in pairs], dtype=np.float64), np.array([right for _, right in pairs], dtype=np.float64)


def _as_list(label: Any) -> list[str]:
    return label if isinstance(label, list) else [label]


def _percent(part: float, whole: float) -> float:
    return round(100 * float(part) / float(whole), 4) if whole else 0.0


def _in_part(text: str) -> str:
    """Return the text, of a very long one its beginning and its length."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ... ({len(text):,} characters in all)"
