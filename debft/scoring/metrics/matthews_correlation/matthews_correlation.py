"""`evaluate.load` reads this file; the score itself is debft.scoring.metrics.scores.matthews_correlation."""

import evaluate

from debft.scoring.metrics import export, scores


class MatthewsCorrelation(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return export.info(scores.matthews_correlation.__doc__, "int64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"matthews_correlation": scores.matthews_correlation(references, predictions)}
