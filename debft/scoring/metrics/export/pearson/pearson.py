"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.scores.pearson."""

from collections.abc import Sequence

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class Pearson(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.pearson, "float64")

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return {"pearson": scores.pearson(references, predictions)}
