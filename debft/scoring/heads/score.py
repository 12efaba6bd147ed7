"""A regression gives each example a score, from one output of the model.

Legend: B sequences in a batch, N examples.
"""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.data.packing import Batch
from debft.scoring.collecting import LogitsCollector
from debft.scoring.heads.head import Assessment, check_finite, scores_in_percent, sequence_logits, summed
from debft.tasks import TextClassification


@dataclass(frozen=True, kw_only=True)
class ScoreHead:
    """This head takes the only output of a model as the score.

    name: the name of that output, under which a row holds the score
    """

    task: TextClassification
    name: str

    def prepare(self, split: EncodedSplit) -> EncodedSplit:
        return split

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return (B, 1)."""
        return sequence_logits(model, batch)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the squared error of the scores, summed over the sequences."""
        return summed(torch.nn.functional.mse_loss, outputs.squeeze(-1), batch["labels"], batch)

    def divergence(self, target: torch.Tensor, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return half the squared difference of two scores: SiFT adds it in both directions, which makes it whole."""
        return summed(torch.nn.functional.mse_loss, outputs, target, batch) / 2

    def collector(self, split: EncodedSplit, *, left: bool, executor: Executor | None) -> LogitsCollector:
        return LogitsCollector(split)

    def with_chosen(self, settings: Mapping[str, Any]) -> "ScoreHead":
        return self

    def assess(self, outcome: np.ndarray, split: EncodedSplit, examples: Examples) -> Assessment:
        """Score (N, 1) outputs."""
        check_finite(outcome, examples.ids)
        scores_N = outcome[:, 0]
        scores = scores_in_percent(self.task.metrics, scores_N, split.row_labels)
        loss = float(np.mean((scores_N.astype(np.float64) - split.row_labels) ** 2))
        return Assessment(scores=scores, rows=self._rows(scores_N, examples, split.row_labels.tolist()), loss=loss)

    def predict(self, outcome: np.ndarray, examples: Examples) -> list[dict[str, Any]]:
        check_finite(outcome, examples.ids)
        return self._rows(outcome[:, 0], examples, None)

    def _rows(self, scores_N: np.ndarray, examples: Examples, labels: list[float] | None) -> list[dict[str, Any]]:
        """Return id, label (where `labels` is given), prediction, and the score again where a classification has its own."""
        rows = []
        for i, (identity, score) in enumerate(zip(examples.ids, scores_N.tolist(), strict=True)):
            label = {} if labels is None else {"label": labels[i]}
            rows.append({"id": identity, **label, "prediction": score, "scores": {self.name: round(score, 6)}})
        return rows
