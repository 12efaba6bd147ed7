"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.scores.accuracy."""

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class Accuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.accuracy.__doc__, "int64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"accuracy": scores.accuracy(references, predictions)}
