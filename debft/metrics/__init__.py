"""The scores, each an `evaluate` module in a folder of its own, so that nothing is fetched: `evaluate.load(path("accuracy"))`.

Every score is a fraction here and in percent in results, save that `squad_v2` gives the official scorer's percent.
"""

from pathlib import Path
from typing import Any

# Of label ids or numbers, one score each; squad_v2 scores answer texts.
METRICS = ("accuracy", "f1", "macro_f1", "matthews_correlation", "pearson", "spearmanr")


def path(name: str) -> str:
    """The folder to give to `evaluate.load`."""
    return str(Path(__file__).parent / name)


def compute(name: str, predictions: Any, references: Any) -> float:
    """One score of predicted against true label ids, or scores; both (N,)."""
    import evaluate

    module = evaluate.load(path(name), keep_in_memory=True)
    return float(module.compute(predictions=predictions, references=references)[name])
