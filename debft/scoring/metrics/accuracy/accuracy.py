"""`evaluate.load` reads this file; the score itself is debft.scoring.metrics.scores.accuracy."""

import evaluate

from debft.scoring.metrics import export, scores


class Accuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return export.info(scores.accuracy.__doc__, "int64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"accuracy": scores.accuracy(references, predictions)}
