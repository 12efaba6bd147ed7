"""Each score is a plain function of references and predictions, both (N,), and returns a fraction.

Those of labels are counts and a division, equal to scikit-learn's to the last digit; to load that or scipy.stats takes seconds.
Where a correlation is undefined because one side is constant, it is 0, as scikit-learn has it for Matthews'.

Legend: N rows, C labels that are true or predicted.
"""

from collections.abc import Sequence

import numpy as np


def accuracy(references: Sequence[int], predictions: Sequence[int]) -> float:
    """Return the share of predicted label ids that equal the true ones."""
    return float(np.equal(references, predictions).mean())


def f1(references: Sequence[int], predictions: Sequence[int]) -> float:
    """Return the F1 of label 1 (equivalent, duplicate), 0 where that is neither predicted nor true."""
    true_N, predicted_N = np.equal(references, 1), np.equal(predictions, 1)
    given = true_N.sum() + predicted_N.sum()
    return float(2.0 * (true_N & predicted_N).sum() / given) if given else 0.0


def macro_f1(references: Sequence[int], predictions: Sequence[int]) -> float:
    """Return the mean of the F1 of every label that is predicted or true."""
    counts_CC = _confusion(references, predictions)
    return float((2.0 * np.diag(counts_CC) / (counts_CC.sum(axis=0) + counts_CC.sum(axis=1))).mean())


def matthews_correlation(references: Sequence[int], predictions: Sequence[int]) -> float:
    """Return Matthews' correlation of label ids, for two labels or more.

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004, as in scikit-learn.
    """
    counts_CC = _confusion(references, predictions).astype(np.float64)
    true_C, predicted_C, rows = counts_CC.sum(axis=1), counts_CC.sum(axis=0), counts_CC.sum()
    spread = (rows**2 - predicted_C @ predicted_C) * (rows**2 - true_C @ true_C)
    return float((np.trace(counts_CC) * rows - true_C @ predicted_C) / np.sqrt(spread)) if spread else 0.0


def _confusion(references: Sequence[int], predictions: Sequence[int]) -> np.ndarray:
    """Return how often each label (row) was predicted as each (column), (C, C) int64."""
    labels_C, places = np.unique([references, predictions], return_inverse=True)
    true_N, predicted_N = places.reshape(2, -1)
    size = len(labels_C)
    return np.bincount(true_N * size + predicted_N, minlength=size * size).reshape(size, size)


def pearson(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Return Pearson's correlation of two scores."""
    import scipy.stats

    return float(scipy.stats.pearsonr(references, predictions).statistic) if _both_vary(references, predictions) else 0.0


def spearmanr(references: Sequence[float], predictions: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two scores."""
    import scipy.stats

    return float(scipy.stats.spearmanr(references, predictions).statistic) if _both_vary(references, predictions) else 0.0


def _both_vary(references: Sequence[float], predictions: Sequence[float]) -> bool:
    """Tell whether neither side is constant."""
    return min(len(set(references)), len(set(predictions))) > 1
