"""A classification gives each example one of C labels, from C outputs of the model.

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
from debft.scoring.collecting import LogitsCollector
from debft.scoring.heads.head import Assessment, beside, check_finite, scores_in_percent, sequence_logits, summed
from debft.tasks import TextClassification


@dataclass(frozen=True, kw_only=True)
class LabelHead:
    """This head turns C outputs into the probabilities of C labels.

    labels: their names in the order of the model's outputs, in which a prepared split counts its labels too
    weights: what a sequence of each label counts for in the loss, in the same order; None: all alike
    """

    task: TextClassification
    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    def prepare(self, split: EncodedSplit) -> EncodedSplit:
        return split.with_labels(self.task.labels, self.labels)

    def weighted(self, weights: Mapping[str, float]) -> "LabelHead":
        """Return the head with these weights of the loss, by label."""
        return replace(self, weights=tuple(weights[label] for label in self.labels))

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return (B, C)."""
        return sequence_logits(model, batch)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy of the labels times their weights, summed over the sequences."""
        weight_C = beside(outputs, self.weights)
        return summed(torch.nn.functional.cross_entropy, outputs, batch["labels"], batch, weight=weight_C)

    def divergence(self, target: torch.Tensor, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy of the probabilities that `target` gives, summed over the sequences."""
        return summed(torch.nn.functional.cross_entropy, outputs, target.softmax(dim=-1), batch)

    def collector(self, split: EncodedSplit, *, left: bool, executor: Executor | None) -> LogitsCollector:
        return LogitsCollector(split)

    def with_chosen(self, settings: Mapping[str, Any]) -> "LabelHead":
        return self

    def assess(self, outcome: np.ndarray, split: EncodedSplit, examples: Examples) -> Assessment:
        """Score (N, C) logits by the task's order of labels: F1 is that of the task's label 1 whatever the outputs are called."""
        check_finite(outcome, examples.ids)
        logits_NC, labels_N = outcome, split.row_labels
        of_task_C = np.array([self.task.labels.index(label) for label in self.labels])
        scores = scores_in_percent(self.task.metrics, of_task_C[logits_NC.argmax(axis=1)], of_task_C[labels_N])
        rows = self._rows(logits_NC, examples, [self.labels[label] for label in labels_N])
        return Assessment(scores=scores, rows=rows, loss=cross_entropy(logits_NC, labels_N))

    def predict(self, outcome: np.ndarray, examples: Examples) -> list[dict[str, Any]]:
        check_finite(outcome, examples.ids)
        return self._rows(outcome, examples, None)

    def _rows(self, logits_NC: np.ndarray, examples: Examples, labels: list[str] | None) -> list[dict[str, Any]]:
        """Return id, label (where `labels` is given), prediction and the probability of each label."""
        probability_NC = probabilities(logits_NC)
        rows = []
        columns = zip(examples.ids, probability_NC.argmax(axis=1).tolist(), probability_NC.tolist(), strict=True)
        for i, (identity, best, probability_C) in enumerate(columns):
            row: dict[str, Any] = {"id": identity} if labels is None else {"id": identity, "label": labels[i]}
            row["prediction"] = self.labels[best]
            row["scores"] = {name: round(p, 6) for name, p in zip(self.labels, probability_C, strict=True)}
            rows.append(row)
        return rows


def cross_entropy(logits_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the mean over the rows of minus the logarithm of their label's probability, in float64."""
    logits_NC = logits_NC.astype(np.float64)
    highest_N = logits_NC.max(axis=1)
    of_labels_N = logits_NC[np.arange(len(labels_N)), labels_N]
    return float(np.mean(highest_N + np.log(np.exp(logits_NC - highest_N[:, None]).sum(axis=1)) - of_labels_N))


def probabilities(logits_NC: np.ndarray) -> np.ndarray:
    """Return the softmax over the labels, (N, C) float64."""
    shifted = np.exp(logits_NC.astype(np.float64) - logits_NC.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
