"""A task names its metrics, and this module computes them. SQuAD's, which compare answer texts, are in squad.py."""

from typing import Any

METRICS = ("accuracy", "f1", "macro_f1", "matthews_correlation", "pearson", "spearmanr")
OF_NUMBERS = ("pearson", "spearmanr")
OF_SETS = ("micro_f1", "macro_f1", "subset_accuracy")


def compute(name: str, predictions: Any, references: Any) -> float:
    """Return one score, a fraction, of predicted against true label ids (int64) or numbers (widened to float64), both (N,).

    Those of `OF_SETS` are of sets of labels where both are (N, C) of 0 and 1.
    """
    import numpy as np

    from debft.scoring.metrics import scores, sets

    if np.ndim(references) == 2:
        return getattr(sets, name)(references, predictions)
    kind = np.float64 if name in OF_NUMBERS else np.int64
    return getattr(scores, name)(np.asarray(references, dtype=kind), np.asarray(predictions, dtype=kind))
