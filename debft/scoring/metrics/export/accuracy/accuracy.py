"""The score debft.scoring.metrics.scores.accuracy as a module for `evaluate.load`."""

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class Accuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.accuracy.__doc__, "int64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"accuracy": scores.accuracy(references, predictions)}
