"""What the `evaluate` modules of this folder share. They are an export: a run scores with the plain functions."""

import datasets
import evaluate


def info(description: str, number: str) -> evaluate.MetricInfo:
    """What an `evaluate` module says of itself; `number` is the type of its inputs, int64 or float64."""
    value = datasets.Value(number)
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description="predictions, references: (N,)",
        features=datasets.Features({"predictions": value, "references": value}),
    )
