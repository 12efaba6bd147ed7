"""`evaluate.load` reads this file; the score itself is debft.scoring.metrics.scores.f1."""

import evaluate

from debft.scoring.metrics import export, scores


class F1(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return export.info(scores.f1.__doc__, "int64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"f1": scores.f1(references, predictions)}
