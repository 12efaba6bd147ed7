"""The scores, plain functions, and beside them each as an `evaluate` module in a folder of its own for use elsewhere.

Every score is a fraction here and in percent in results, save that `squad_v2` gives the official scorer's percent.
"""

from pathlib import Path
from typing import Any

# Of label ids or numbers, one score each; squad_v2 scores answer texts.
METRICS = ("accuracy", "f1", "macro_f1", "matthews_correlation", "pearson", "spearmanr")
OF_NUMBERS = ("pearson", "spearmanr")


def path(name: str) -> str:
    """The folder to give to `evaluate.load`, which fetches nothing for it. A run needs neither: see `compute`."""
    return str(Path(__file__).parent / name)


def compute(name: str, predictions: Any, references: Any) -> float:
    """One score of predicted against true label ids (int64), or of numbers (float64, float32 widened); both (N,)."""
    import numpy as np

    from debft.scoring.metrics import scores

    kind = np.float64 if name in OF_NUMBERS else np.int64
    return getattr(scores, name)(np.asarray(references, dtype=kind), np.asarray(predictions, dtype=kind))
