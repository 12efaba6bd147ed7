"""A run that has learned nothing ends as any other does; this module tells it by its predictions and by its last losses."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from debft.scoring.heads import Assessment
from debft.tasks import QuestionAnswering, Task, TextClassification
from debft.training.plan import Plan

LAST_STEPS = 50  # whose losses are compared with that of a guess
FEWEST_STEPS = 10  # below which losses say too little
STANDARD_ERRORS = 2.0  # by which their mean has to be above it
SMALLEST_SPREAD = 0.01  # of predicted scores, as a part of that of the true ones
NEARLY_ALL = 0.95  # of the rows, from which predictions are looked at as if they were all one
ADVICE = "the model tells nothing apart; lower --learning-rate, give more warm-up or more steps"


def collapse_warnings(plan: Plan, assessed: Mapping[str, Assessment], losses: Sequence[float]) -> list[str]:
    """Return a line for each split whose predictions are all one though its labels are not, and for losses above that of a guess.

    losses: of the optimizer steps, in their order
    """
    lines = [line for name, one in assessed.items() if (line := _constant(plan.task, name, one.rows))]
    if line := _above_chance(plan, losses[-LAST_STEPS:]):
        lines.append(line)
    return lines


def _constant(task: Task, name: str, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Say of a split that its predictions are all one though its labels are not; None where they are not."""
    if len(rows) < 2:
        return None
    labels, predictions = [row["label"] for row in rows], [row["prediction"] for row in rows]
    if isinstance(task, QuestionAnswering):
        labels, predictions = [bool(label) for label in labels], [bool(prediction) for prediction in predictions]
        words = "answered" if predictions[0] else "left without an answer"
    elif isinstance(task, TextClassification) and task.is_regression:
        if (spread := stdev(labels)) == 0 or stdev(predictions) >= SMALLEST_SPREAD * spread:
            return None
        return (
            f"{name}: all of {len(rows):,} rows are predicted about {fmean(predictions):.2f}, though their scores differ; {ADVICE}"
        )
    else:
        words = f"predicted {_named(predictions[0])}"
    same = all(prediction == predictions[0] for prediction in predictions)
    if not same:
        return None if isinstance(task, QuestionAnswering) else _nearly_constant(name, labels, predictions)
    if all(label == predictions[0] for label in labels):
        return None
    share = sum(label == predictions[0] for label in labels) / len(labels)
    return f"{name}: all of {len(rows):,} rows are {words}, as {share:.0%} of them should be; {ADVICE}"


def _nearly_constant(name: str, labels: Sequence[Any], predictions: Sequence[Any]) -> str | None:
    """Say that nearly all rows are predicted alike, where to predict the most frequent label for all would be right as often."""
    counts, true = Counter(map(_named, predictions)), Counter(map(_named, labels))
    (usual, number), (most, frequent) = counts.most_common(1)[0], true.most_common(1)[0]
    right = sum(_named(label) == _named(prediction) for label, prediction in zip(labels, predictions, strict=True))
    if number < NEARLY_ALL * len(labels) or right > frequent:
        return None
    return (
        f"{name}: {number:,} of {len(labels):,} rows are predicted {usual}, and {right / len(labels):.0%} of all rows right, where "
        f"{most} for every row would be right for {frequent / len(labels):.0%}; {ADVICE}"
    )


def _named(label: str | list[str]) -> str:
    """Return a label, or a set of them, in words."""
    return label if isinstance(label, str) else " and ".join(label) or "without a label"


def _above_chance(plan: Plan, losses: Sequence[float]) -> str | None:
    """Say that the mean of the last losses is above that of a guess, which gives each of C labels the probability 1 / C.

    Only a plain cross-entropy can be compared with ln C: without SiFT, and with one label a row that is not weighed.
    """
    task = plan.task
    if not isinstance(task, TextClassification) or task.is_regression or task.multilabel:
        return None
    if plan.class_weights or plan.recipe.sift.weight or len(losses) < FEWEST_STEPS:
        return None
    chance, mean = math.log(len(task.labels)), fmean(losses)
    if mean - STANDARD_ERRORS * stdev(losses) / math.sqrt(len(losses)) <= chance:
        return None
    return f"training: the loss of the last {len(losses):,} steps is {mean:.3f}, that of a guess {chance:.3f}; {ADVICE}"
