"""The scores as plain functions of references and predictions, both (N,); each returns a fraction.

Where a correlation is undefined because one side is constant, it is 0, as scikit-learn has it for Matthews'.
"""

from collections.abc import Sequence

import scipy.stats
import sklearn.metrics


def accuracy(references: Sequence[int], predictions: Sequence[int]) -> float:
    """The share of predicted label ids that equal the true ones."""
    return float(sklearn.metrics.accuracy_score(references, predictions))


def f1(references: Sequence[int], predictions: Sequence[int]) -> float:
    """F1 of label 1 (equivalent, duplicate), 0 where that is neither predicted nor true."""
    return float(sklearn.metrics.f1_score(references, predictions, zero_division=0))


def macro_f1(references: Sequence[int], predictions: Sequence[int]) -> float:
    """The mean of the F1 of every label that is predicted or true."""
    return float(sklearn.metrics.f1_score(references, predictions, average="macro", zero_division=0))


def matthews_correlation(references: Sequence[int], predictions: Sequence[int]) -> float:
    """Matthews' correlation of label ids."""
    return float(sklearn.metrics.matthews_corrcoef(references, predictions))


def pearson(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Pearson's correlation of two scores."""
    return float(scipy.stats.pearsonr(references, predictions).statistic) if _both_vary(references, predictions) else 0.0


def spearmanr(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Spearman's rank correlation of two scores."""
    return float(scipy.stats.spearmanr(references, predictions).statistic) if _both_vary(references, predictions) else 0.0


def _both_vary(references: Sequence[float], predictions: Sequence[float]) -> bool:
    return min(len(set(references)), len(set(predictions))) > 1
