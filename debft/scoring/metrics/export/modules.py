"""Each folder here holds a score as a module of the `evaluate` library, for use in other programs.

They are an export alone: debft scores with the plain functions of debft.scoring.metrics, which the modules call.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import evaluate


def path(name: str) -> str:
    """Return the folder to give to `evaluate.load`, which fetches nothing: that of a metric, `sets_of_labels` or `squad_v2`."""
    return str(Path(__file__).parent / name)


def info(score: Callable[..., float], number: str) -> "evaluate.MetricInfo":
    """Return the description that the module of a score has to give. number: the type of its inputs, int64 or float64."""
    import datasets
    import evaluate

    value = datasets.Value(number)
    return evaluate.MetricInfo(
        description=score.__doc__,
        citation="",
        inputs_description="predictions, references: (N,)",
        features=datasets.Features({"predictions": value, "references": value}),
    )
