"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.scores.spearmanr."""

from collections.abc import Sequence

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class Spearmanr(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.spearmanr, "float64")

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return {"spearmanr": scores.spearmanr(references, predictions)}
