"""The exported model answers every row through predict.py and onnxruntime, and its answers are compared with the run's own.

What is compared is what a user takes away, from the text to the answer: the tokenizer, the lengths, the graph and the thresholds.

Legend: N rows, C outputs of the model, K numbers that decide about a row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.runtime.progress import meter
from debft.scoring import spans
from debft.scoring.heads import Head, LabelHead, MultiLabelHead, SpanHead, probabilities
from debft.scoring.heads.multilabel import sigmoid
from debft.scoring.metrics import squad
from debft.scoring.predictor import Predictor

AT_ONCE = 16  # rows in a batch: on a CPU more are no faster, and rows of about the same length are padded little
# What the numbers of two programs may differ by, a probability absolutely, a score or a logit beside its size. Float32 rounds them
# apart by 1e-6 to 1e-5; a mask, a bucket or a token that is not the same moves them by 1e-2 and more.
TOLERANCE = 1e-3

Scope = dict[str, Any]  # what predict.py defines, by name


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A model has answered the rows of a split.

    given: what each row was given: a label, a list of labels, a score, or (text, first character, last character + 1)
    numbers_NK: what decided: the probability of each label, the score, or the logits of the best span and of no answer
    scores: percent, by metric
    """

    given: list[Any]
    numbers_NK: np.ndarray
    scores: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The answers of two models to the same rows were compared.

    rows: how many
    flips: of how many the answer is another one; a score that moves is none
    largest: the largest difference of the numbers that decided
    first: the row that differs first, None where none does
    """

    rows: int
    flips: int
    largest: float
    first: str | None


def deciding_word(head: Head) -> str:
    """Return what the numbers are by which two models are compared: `probability`, `score` or `logit`."""
    if isinstance(head, LabelHead | MultiLabelHead):
        return "probability"
    return "logit" if isinstance(head, SpanHead) else "score"


def load_example(file: Path) -> Scope:
    """Run predict.py as an import would, without leaving compiled code beside it."""
    scope: Scope = {"__file__": str(file), "__name__": "predict"}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), scope)
    return scope


def answers_of_run(
    predictor: Predictor, splits: Mapping[str, EncodedSplit], examples: Mapping[str, Examples]
) -> dict[str, Answers]:
    """Return what debft's own way to use the model answers. splits: the prepared examples"""
    outcomes, head = predictor.outcomes(splits), predictor.loaded.head
    answered = {}
    for name, split in splits.items():
        with predictor.named():
            assessment = head.assess(outcomes[name], split, examples[name])
        if isinstance(head, SpanHead):
            given = [(row["prediction"], row["start"], row["end"]) for row in assessment.rows]
            contexts = [context for _, context in examples[name].texts]
            decoded = spans.answers(outcomes[name], contexts, with_null=head.task.unanswerable)
            numbers = np.array([[one.scores[0] if one.scores else -spans.NO_SPAN, one.no_answer_score] for one in decoded])
        else:
            given, numbers = [row["prediction"] for row in assessment.rows], _deciding(head, outcomes[name])
        answered[name] = Answers(given=given, numbers_NK=numbers, scores=assessment.scores)
    return answered


def steady_head(head: Head, answers: Mapping[str, Answers]) -> Head:
    """Return the head with a no-answer threshold at which a last bit decides about no row.

    The official search takes a row's own score for the threshold, and rounding puts that row on either side of it. Here it lies
    half way to the next row's score, but no farther than numbers may differ.
    """
    if not isinstance(head, SpanHead) or not head.task.unanswerable:
        return head
    threshold = head.threshold or 0.0
    scores_N = np.concatenate([one.numbers_NK[:, 1] for one in answers.values()])
    to_next = (scores_N[scores_N > threshold] - threshold).min(initial=np.inf)
    return replace(head, threshold=threshold + float(min(to_next / 2, TOLERANCE / 2 * max(1.0, abs(threshold)))))


def answers_of_example(
    scope: Scope, head: Head, splits: Mapping[str, EncodedSplit], examples: Mapping[str, Examples], what: str
) -> dict[str, Answers]:
    """Return what predict.py answers to the same rows. what: its name on the progress bar"""
    answered = {}
    with meter(what, sum(map(len, examples.values())), "rows") as progress:
        for name, split in splits.items():
            answer = _answers_to_questions if isinstance(head, SpanHead) else _answers_to_texts
            answered[name] = answer(scope, head, split, examples[name], partial(progress.advance, note=name))
    return answered


def _answers_to_texts(scope: Scope, head: Head, split: EncodedSplit, rows: Examples, done: Callable[[int], None]) -> Answers:
    logits_NC = logits_in_batches(scope, [list(texts) for texts in rows.texts], done)
    given = [row["prediction"] for row in scope["answers"](logits_NC)]
    return Answers(given=given, numbers_NK=_deciding(head, logits_NC), scores=head.assess(logits_NC, split, rows).scores)


def _answers_to_questions(scope: Scope, head: Head, split: EncodedSplit, rows: Examples, done: Callable[[int], None]) -> Answers:
    answered = []
    for question, context in rows.texts:
        answered.append(scope["answer"](question, context))
        done(1)
    by_id = dict(zip(rows.ids, (row["prediction"] for row in answered), strict=True))
    gold = {identity: tuple(text for text, _ in pairs) for identity, pairs in zip(rows.ids, rows.labels, strict=True)}
    return Answers(
        given=[(row["prediction"], row["start"], row["end"]) for row in answered],
        numbers_NK=np.array([[row["score"], row["no_answer_score"]] for row in answered]),
        scores=squad.scores(by_id, gold),
    )


def logits_in_batches(scope: Scope, texts: list[list[str]], done: Callable[[int], None] = lambda count: None) -> np.ndarray:
    """Return the outputs of predict.py's `logits`, (N, C), row by row.

    The shortest and the longest row are alone in their batch, so that a batch of one is tried as well as padded ones.
    """
    order = sorted(range(len(texts)), key=lambda row: sum(map(len, texts[row])))
    inner = order[1:-1]
    batches = [order[:1], *(inner[i : i + AT_ONCE] for i in range(0, len(inner), AT_ONCE)), order[1:][-1:]]
    parts = []
    for batch in filter(None, batches):
        parts.append(scope["logits"]([texts[row] for row in batch]))
        done(len(batch))
    logits_NC = np.empty_like(np.concatenate(parts))
    logits_NC[order] = np.concatenate(parts)
    return logits_NC


def _deciding(head: Head, logits_NC: np.ndarray) -> np.ndarray:
    """Return the numbers that decide about each row."""
    if isinstance(head, MultiLabelHead):
        return sigmoid(logits_NC)
    return probabilities(logits_NC) if isinstance(head, LabelHead) else logits_NC


def agreement(
    head: Head, ours: Mapping[str, Answers], theirs: Mapping[str, Answers], examples: Mapping[str, Examples]
) -> Agreement:
    """Compare the answers to the rows of all splits."""
    are_scores = not isinstance(head, LabelHead | MultiLabelHead | SpanHead)
    flips, largest, first = 0, 0.0, None
    for name, one in ours.items():
        other = theirs[name]
        apart_N = np.abs(one.numbers_NK - other.numbers_NK).max(axis=1)
        beside_N = 1.0 if isinstance(head, LabelHead | MultiLabelHead) else np.maximum(1.0, np.abs(one.numbers_NK).max(axis=1))
        flipped_N = np.array([not are_scores and a != b for a, b in zip(one.given, other.given, strict=True)])
        wrong = np.flatnonzero(flipped_N | ~(apart_N <= TOLERANCE * beside_N))  # NaN is wrong
        if first is None and len(wrong):
            first = examples[name].place(int(wrong[0]))
        flips += int(flipped_N.sum())
        largest = max(largest, float(apart_N.max()))
    return Agreement(rows=sum(len(one.given) for one in ours.values()), flips=flips, largest=largest, first=first)
