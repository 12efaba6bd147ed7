"""`evaluate.load` reads this file; the score itself is debft.scoring.metrics.scores.spearmanr."""

import evaluate

from debft.scoring.metrics import export, scores


class Spearmanr(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return export.info(scores.spearmanr.__doc__, "float64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"spearmanr": scores.spearmanr(references, predictions)}
