"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.scores.pearson."""

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class Pearson(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.pearson.__doc__, "float64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"pearson": scores.pearson(references, predictions)}
