"""`evaluate.load` reads this file; the score itself is debft.scoring.metrics.scores.pearson."""

import evaluate

from debft.scoring.metrics import export, scores


class Pearson(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return export.info(scores.pearson.__doc__, "float64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"pearson": scores.pearson(references, predictions)}
