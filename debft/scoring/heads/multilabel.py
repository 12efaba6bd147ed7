"""A classification gives each example any number of C labels, from C outputs of the model that know nothing of each other.

Legend: B sequences in a batch, N examples, C labels.
"""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.data.packing import Batch
from debft.models.settings import THRESHOLDS
from debft.scoring.collecting import LogitsCollector
from debft.scoring.heads.head import Assessment, beside, check_finite, scores_in_percent, sequence_logits, summed
from debft.scoring.metrics.sets import DEFAULT_THRESHOLD, best_thresholds
from debft.tasks import TextClassification

EXTRA = ("subset_accuracy",)  # what is scored beside the metrics of the task
AT_DEFAULT = f"_at_{DEFAULT_THRESHOLD}"  # behind the name of a score for which no threshold was chosen


@dataclass(frozen=True, kw_only=True)
class MultiLabelHead:
    """This head turns each of C outputs into the probability of its label, by a sigmoid.

    labels: their names in the order of the model's outputs, in which the columns of a prepared split are too
    thresholds: the probability from which each label is predicted. None: not chosen yet; then the split that is assessed gives
        them, the best for the F1 of each label.
    weights: what a sequence counts for in the loss of each label, one number where it has the label and one where it has not; None:
        all alike
    """

    task: TextClassification
    labels: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None
    weights: tuple[tuple[float, float], ...] | None = None

    def prepare(self, split: EncodedSplit) -> EncodedSplit:
        return split.with_labels(self.task.labels, self.labels)

    def weighted(self, weights: Mapping[str, tuple[float, float]]) -> "MultiLabelHead":
        """Return the head with these weights of the loss, by label."""
        return replace(self, weights=tuple(weights[label] for label in self.labels))

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return (B, C)."""
        return sequence_logits(model, batch)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean over the labels of the binary cross-entropy, summed over the sequences.

        Divided by the sequences of a step it is the loss of transformers for this kind of problem, the mean over sequences and
        labels. Source: transformers loss/loss_utils.py ForSequenceClassificationLoss. Weights are torch's pos_weight, the ratio of
        the two, times that of the sequences without the label.
        """
        weights_C2 = beside(outputs, self.weights)
        if weights_C2 is None:
            return _binary_cross_entropy(outputs, batch["labels"], batch)
        with_C, without_C = weights_C2.unbind(1)
        return _binary_cross_entropy(outputs, batch["labels"], batch, weight=without_C, pos_weight=with_C / without_C)

    def divergence(self, target: torch.Tensor, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the binary cross-entropy of the probabilities that `target` gives, mean over labels, summed over sequences."""
        return _binary_cross_entropy(outputs, target.sigmoid(), batch)

    def collector(self, split: EncodedSplit, *, left: bool, executor: Executor | None) -> LogitsCollector:
        return LogitsCollector(split)

    def with_chosen(self, settings: Mapping[str, Any]) -> "MultiLabelHead":
        """Return the head with the thresholds that an assessment chose; 0.5 for a label of which none was chosen."""
        thresholds = settings.get(THRESHOLDS, {})
        return replace(self, thresholds=tuple(float(thresholds.get(label, DEFAULT_THRESHOLD)) for label in self.labels))

    def assess(self, outcome: np.ndarray, split: EncodedSplit, examples: Examples) -> Assessment:
        """Score (N, C) logits at the thresholds, and at 0.5: the difference is what their choice gave."""
        check_finite(outcome, examples.ids)
        probability_NC, label_NC = sigmoid(outcome), split.row_labels.astype(np.int64)
        thresholds = self.thresholds or tuple(best_thresholds(label_NC, probability_NC).tolist())
        names = (*self.task.metrics, *EXTRA)
        predicted_NC = (probability_NC >= np.array(thresholds)).astype(np.int64)
        plain_NC = (probability_NC >= DEFAULT_THRESHOLD).astype(np.int64)
        plain = scores_in_percent(names, plain_NC, label_NC)
        return Assessment(
            scores=scores_in_percent(names, predicted_NC, label_NC) | {f"{n}{AT_DEFAULT}": value for n, value in plain.items()},
            rows=self._rows(probability_NC, predicted_NC, examples, label_NC),
            settings={THRESHOLDS: dict(zip(self.labels, thresholds, strict=True))},
            loss=cross_entropy_of_sets(outcome, label_NC),
        )

    def predict(self, outcome: np.ndarray, examples: Examples) -> list[dict[str, Any]]:
        check_finite(outcome, examples.ids)
        probability_NC = sigmoid(outcome)
        predicted_NC = probability_NC >= np.array(self.thresholds or DEFAULT_THRESHOLD)
        return self._rows(probability_NC, predicted_NC, examples, None)

    def _rows(
        self, probability_NC: np.ndarray, predicted_NC: np.ndarray, examples: Examples, label_NC: np.ndarray | None
    ) -> list[dict[str, Any]]:
        """Return id, labels (where they are given), the list of predicted labels and the probability of each."""
        rows = []
        for i, (identity, probability_C) in enumerate(zip(examples.ids, probability_NC.tolist(), strict=True)):
            row: dict[str, Any] = {"id": identity} if label_NC is None else {"id": identity, "label": self._names(label_NC[i])}
            row["prediction"] = self._names(predicted_NC[i])
            row["scores"] = {name: round(p, 6) for name, p in zip(self.labels, probability_C, strict=True)}
            rows.append(row)
        return rows

    def _names(self, hot_C: np.ndarray) -> list[str]:
        return [self.labels[i] for i in np.flatnonzero(hot_C)]


def _binary_cross_entropy(outputs: torch.Tensor, target: torch.Tensor, batch: Batch, **weights: torch.Tensor) -> torch.Tensor:
    """Return the mean over C of (B, C), summed over B. weights: torch's `weight` and `pos_weight`, (C,)"""
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return summed(loss, outputs, target, batch, **weights) / outputs.shape[1]


def cross_entropy_of_sets(logits_NC: np.ndarray, label_NC: np.ndarray) -> float:
    """Return the mean over rows and labels of the binary cross-entropy, in float64."""
    logits_NC = logits_NC.astype(np.float64)
    return float(np.mean(np.maximum(logits_NC, 0) - logits_NC * label_NC + np.log1p(np.exp(-np.abs(logits_NC)))))


def sigmoid(logits_NC: np.ndarray) -> np.ndarray:
    """Return the probability of each label, (N, C) float64."""
    shrunk_NC = np.exp(-np.abs(logits_NC.astype(np.float64)))
    return np.where(logits_NC >= 0, 1.0, shrunk_NC) / (1.0 + shrunk_NC)
