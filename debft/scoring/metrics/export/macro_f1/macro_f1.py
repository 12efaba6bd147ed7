"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.scores.macro_f1."""

from collections.abc import Sequence

import evaluate

from debft.scoring.metrics import scores
from debft.scoring.metrics.export import modules


class MacroF1(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return modules.info(scores.macro_f1, "int64")

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"macro_f1": scores.macro_f1(references, predictions)}
