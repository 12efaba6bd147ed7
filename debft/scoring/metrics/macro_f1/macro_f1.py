"""`evaluate.load` reads this file; the score itself is debft.scoring.metrics.scores.macro_f1."""

import evaluate

from debft.scoring.metrics import export, scores


class MacroF1(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return export.info(scores.macro_f1.__doc__, "int64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"macro_f1": scores.macro_f1(references, predictions)}
