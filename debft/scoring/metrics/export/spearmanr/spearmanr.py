"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.scores.spearmanr."""

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class Spearmanr(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.spearmanr.__doc__, "float64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"spearmanr": scores.spearmanr(references, predictions)}
