"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.scores.matthews_correlation."""

from collections.abc import Sequence

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class MatthewsCorrelation(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.matthews_correlation, "int64")

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"matthews_correlation": scores.matthews_correlation(references, predictions)}
