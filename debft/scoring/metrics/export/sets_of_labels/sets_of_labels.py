"""`evaluate.load` reads this module, which hands on the scores of debft.scoring.metrics.sets."""

import datasets
import evaluate
import numpy as np

from debft.scoring.metrics import sets
from debft.scoring.metrics.by_name import OF_SETS


class SetsOfLabels(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        row = datasets.List(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=sets.__doc__,
            citation="",
            inputs_description="predictions, references: (N, C) of 0 and 1",
            features=datasets.Features({"predictions": row, "references": row}),
        )

    def _compute(self, predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        return {name: getattr(sets, name)(references, predictions) for name in OF_SETS}
