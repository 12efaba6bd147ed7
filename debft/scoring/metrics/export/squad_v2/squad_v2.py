"""`evaluate.load` reads this module, which hands on debft.scoring.metrics.squad.scores, in percent."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate

from debft.scoring.metrics import squad


class SquadV2(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        answers = {"text": datasets.List(text), "answer_start": datasets.List(datasets.Value("int32"))}
        features = {"predictions": {"id": text, "prediction_text": text}, "references": {"id": text, "answers": answers}}
        return evaluate.MetricInfo(
            description=squad.scores.__doc__,
            citation="",
            inputs_description="predictions: {id, prediction_text}, references: {id, answers: {text, answer_start}}, N of each",
            features=datasets.Features(features),
        )

    def _compute(self, predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        texts = {row["id"]: row["prediction_text"] for row in predictions}
        return squad.scores(texts, {row["id"]: row["answers"]["text"] for row in references})
