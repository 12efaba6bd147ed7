"""Each score is a plain function of references and predictions, both (N,), and returns a fraction.

Where a correlation is undefined because one side is constant, it is 0, as scikit-learn has it for Matthews'.
"""

from collections.abc import Sequence

import scipy.stats
import sklearn.metrics


def accuracy(references: Sequence[int], predictions: Sequence[int]) -> float:
    """Return the share of predicted label ids that equal the true ones."""
    return float(sklearn.metrics.accuracy_score(references, predictions))


def f1(references: Sequence[int], predictions: Sequence[int]) -> float:
    """Return the F1 of label 1 (equivalent, duplicate), 0 where that is neither predicted nor true."""
    return float(sklearn.metrics.f1_score(references, predictions, zero_division=0))


def macro_f1(references: Sequence[int], predictions: Sequence[int]) -> float:
    """Return the mean of the F1 of every label that is predicted or true."""
    return float(sklearn.metrics.f1_score(references, predictions, average="macro", zero_division=0))


def matthews_correlation(references: Sequence[int], predictions: Sequence[int]) -> float:
    """Return Matthews' correlation of label ids."""
    return float(sklearn.metrics.matthews_corrcoef(references, predictions))


def pearson(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Return Pearson's correlation of two scores."""
    return float(scipy.stats.pearsonr(references, predictions).statistic) if _both_vary(references, predictions) else 0.0


def spearmanr(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two scores."""
    return float(scipy.stats.spearmanr(references, predictions).statistic) if _both_vary(references, predictions) else 0.0


def _both_vary(references: Sequence[float], predictions: Sequence[float]) -> bool:
    """Tell whether neither side is constant."""
    return min(len(set(references)), len(set(predictions))) > 1
