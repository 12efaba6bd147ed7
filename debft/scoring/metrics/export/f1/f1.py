"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.scores.f1."""

from collections.abc import Sequence

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class F1(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.f1, "int64")

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"f1": scores.f1(references, predictions)}
