"""Rare labels count for more in the loss where the recipe asks for it. Evaluation knows nothing of it.

Weights are such that their mean over the training rows is 1, so that loss and learning rate keep their size.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from debft.data.answers import GoldAnswers
from debft.data.sources.separator import fields_of
from debft.errors import InputError, did_you_mean
from debft.tasks import Task, TextClassification

KEY = "train.class_weight"
NONE, BALANCED = "none", "balanced"


def class_weights(asked: str, task: Task, labels: np.ndarray | Sequence[GoldAnswers]) -> dict[str, Any]:
    """Return what a training row counts for in the loss, by label; {} where all count alike.

    asked: the recipe's `train.class_weight`
    labels: those of the training rows, as `Examples` has them
    Returns a number for each label; where a row has several labels a pair for each, of the rows with it and those without.
    `balanced` is the formula of scikit-learn, rows / (labels x rows of the label); of several labels each is balanced by itself, as
    yes and no.

    Raises InputError for a task without labels and for what cannot be read.
    """
    if asked == NONE:
        return {}
    if not isinstance(task, TextClassification) or task.is_regression:
        raise InputError(f"{KEY}: is for labels, the rows have none; leave it out")
    labels, given = np.asarray(labels), {} if asked == BALANCED else _parsed(asked, task.labels)
    if task.multilabel:
        with_C = labels.sum(axis=0)
        pairs = zip(task.labels, with_C.tolist(), (len(labels) - with_C).tolist(), strict=True)
        return {name: _pair(given.get(name, 1.0) if given else None, *counts) for name, *counts in pairs}
    counts_C = np.bincount(labels, minlength=len(task.labels))
    weights_C = np.array([given.get(name, 1.0) for name in task.labels]) if given else 1.0 / np.maximum(counts_C, 1)
    weights_C = weights_C * len(labels) / float(weights_C @ counts_C)
    return {name: float(weight) if count else 1.0 for name, weight, count in zip(task.labels, weights_C, counts_C, strict=True)}


def _pair(given: float | None, num_with: float, num_without: float) -> tuple[float, float]:
    """Return the weights of the rows with a label and of those without. given: their ratio; None: balanced.

    A label that all rows have, or none, has nothing to balance.
    """
    if not num_with or not num_without:
        return 1.0, 1.0
    ratio = num_without / num_with if given is None else given
    without = (num_with + num_without) / (ratio * num_with + num_without)
    return ratio * without, without


def _parsed(asked: str, labels: tuple[str, ...]) -> dict[str, float]:
    """Read `label=weight,label=weight`; a label with a comma is quoted with its weight, as in CSV."""
    weights: dict[str, float] = {}
    for part in fields_of(asked, KEY):
        name, equals, number = part.rpartition("=")
        name, weight = name.strip(), _positive(number)
        if not equals or weight is None:
            raise InputError(f"{KEY}: expected none, balanced, or LABEL=WEIGHT,... with weights above 0, got {part!r}")
        if name not in labels:
            raise InputError(f"{KEY}: no training row is labelled {name!r}{did_you_mean(name, labels)}")
        if name in weights:
            raise InputError(f"{KEY}: expected each label once, got {name!r} twice")
        weights[name] = weight
    if not weights:
        raise InputError(f"{KEY}: expected none, balanced, or LABEL=WEIGHT,..., got {asked!r}")
    return weights


def _positive(number: str) -> float | None:
    try:
        weight = float(number)
    except ValueError:
        return None
    return weight if 0 < weight < math.inf else None


def in_words(weights: Mapping[str, Any]) -> list[str]:
    """Return each label with its weight, or with those of the rows that have it and those that do not."""
    parts = {name: weight if isinstance(weight, tuple) else (weight,) for name, weight in weights.items()}
    return [f"{name} {' / '.join(f'{one:.3g}' for one in pair)}" for name, pair in parts.items()]
