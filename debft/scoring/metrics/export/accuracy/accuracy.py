"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.scores.accuracy."""

from collections.abc import Sequence

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class Accuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.accuracy, "int64")

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"accuracy": scores.accuracy(references, predictions)}
