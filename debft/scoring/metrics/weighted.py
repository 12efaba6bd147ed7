"""Every score is computed for many weightings of the same rows at once, as a bootstrap and a paired comparison need it.

A weight is how often a row was drawn. With every weight 1 each score is that of scores.py, sets.py and squad.py.
Legend: R weightings, U different rows, C labels.
"""

from collections.abc import Mapping

import numpy as np

Columns = Mapping[str, np.ndarray]


def weighted_score(metric: str, columns: Columns, weights_RU: np.ndarray) -> np.ndarray:
    """Return the score of each weighting, a fraction, (R,); NaN where the rows drawn do not define it.

    columns: `reference` and `prediction`, label ids or numbers, (U,) each, or sets of labels, bool (U, C) each; of questions `f1`
        and `exact_match`, fractions, and `answerable`
    weights_RU: float64, how often each row was drawn
    """
    if "answerable" in columns:
        return _question_score(metric, columns, weights_RU)
    if columns["reference"].ndim == 2:
        return _score_of_sets(metric, columns["reference"], columns["prediction"], weights_RU)
    return _SCORES[metric](columns["reference"], columns["prediction"], weights_RU)


def _accuracy(reference_U: np.ndarray, prediction_U: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    return _mean((reference_U == prediction_U).astype(np.float64), weights_RU)


def _f1(reference_U: np.ndarray, prediction_U: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    """Return the F1 of label 1, 0 where it is neither predicted nor true."""
    return _f1_of_label(reference_U == 1, prediction_U == 1, weights_RU)[0]


def _macro_f1(reference_U: np.ndarray, prediction_U: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    """Return the mean of the F1 of the labels that are true or predicted in the rows drawn."""
    total_R, present_R = np.zeros(len(weights_RU)), np.zeros(len(weights_RU))
    for label in np.union1d(reference_U, prediction_U):
        f1_R, is_there_R = _f1_of_label(reference_U == label, prediction_U == label, weights_RU)
        total_R += f1_R
        present_R += is_there_R
    return _divide(total_R, present_R)


def _f1_of_label(true_U: np.ndarray, predicted_U: np.ndarray, weights_RU: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the F1 of one label, and whether it is true or predicted in any row drawn, (R,) each."""
    columns_U3 = np.stack([true_U & predicted_U, true_U, predicted_U], axis=1).astype(np.float64)
    both_R, true_R, predicted_R = (weights_RU @ columns_U3).T
    sum_R = true_R + predicted_R
    return 2 * both_R / np.maximum(sum_R, 1), sum_R > 0


def _matthews_correlation(reference_U: np.ndarray, prediction_U: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    """Return Matthews' correlation, for two labels or more, 0 where one side is constant.

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004, as in scikit-learn.
    """
    labels_C = np.union1d(reference_U, prediction_U)
    true_RC = weights_RU @ (reference_U[:, None] == labels_C).astype(np.float64)
    predicted_RC = weights_RU @ (prediction_U[:, None] == labels_C).astype(np.float64)
    right_R, all_R = weights_RU @ (reference_U == prediction_U).astype(np.float64), weights_RU.sum(axis=1)
    covariance_R = right_R * all_R - (true_RC * predicted_RC).sum(axis=1)
    spread_R = (all_R**2 - (true_RC**2).sum(axis=1)) * (all_R**2 - (predicted_RC**2).sum(axis=1))
    return covariance_R / np.sqrt(np.where(spread_R > 0, spread_R, np.inf))


def _pearson(reference_U: np.ndarray, prediction_U: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    one_U, other_U = (values_U - values_U.mean() for values_U in (reference_U, prediction_U))  # moments of large numbers cancel
    moments_U5 = np.stack([one_U, other_U, one_U * other_U, one_U**2, other_U**2], axis=1)
    one_R, other_R, both_R, square_R, other_square_R = (weights_RU @ moments_U5).T / weights_RU.sum(axis=1)
    spread_R = _positive(square_R - one_R**2, square_R) * _positive(other_square_R - other_R**2, other_square_R)
    return (both_R - one_R * other_R) / np.sqrt(np.where(spread_R > 0, spread_R, np.inf))


def _positive(variance_R: np.ndarray, square_R: np.ndarray) -> np.ndarray:
    """Return the variances without those that only the rounding of a constant leaves."""
    return np.where(variance_R > 1e-12 * square_R, variance_R, 0.0)


def _spearmanr(reference_U: np.ndarray, prediction_U: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of the ranks that the values have among the rows drawn, equal ones sharing their mean rank."""
    return _correlation(_ranks(reference_U, weights_RU), _ranks(prediction_U, weights_RU), weights_RU)


def _ranks(values_U: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    """Return the mean rank of each row's value among the rows drawn, (R, U)."""
    distinct, place_U = np.unique(values_U, return_inverse=True)
    order = np.argsort(place_U, kind="stable")
    begins = np.searchsorted(place_U[order], np.arange(len(distinct)))
    drawn_RD = np.take(weights_RU, order, axis=1)
    if len(distinct) < len(order):
        drawn_RD = np.add.reduceat(drawn_RD, begins, axis=1)
    return np.take(np.cumsum(drawn_RD, axis=1) - (drawn_RD - 1) / 2, place_U, axis=1)


def _correlation(one_RU: np.ndarray, other_RU: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation, 0 where one side is constant."""
    one_RU = one_RU - _row_mean(one_RU, weights_RU)
    other_RU = other_RU - _row_mean(other_RU, weights_RU)
    drawn_one_RU = weights_RU * one_RU
    covariance_R = np.einsum("ru,ru->r", drawn_one_RU, other_RU)
    one_R = np.einsum("ru,ru->r", drawn_one_RU, one_RU)
    other_R = np.einsum("ru,ru->r", weights_RU * other_RU, other_RU)
    spread_R = one_R * other_R
    return covariance_R / np.sqrt(np.where(spread_R > 0, spread_R, np.inf))


def _row_mean(values_RU: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    return (np.einsum("ru,ru->r", weights_RU, values_RU) / weights_RU.sum(axis=1))[:, None]


def _score_of_sets(metric: str, true_UC: np.ndarray, predicted_UC: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    """Return a score of sets of labels."""
    if metric == "subset_accuracy":
        return _mean((true_UC == predicted_UC).all(axis=1).astype(np.float64), weights_RU)
    both_RC = weights_RU @ (true_UC & predicted_UC).astype(np.float64)
    given_RC = weights_RU @ true_UC.astype(np.float64) + weights_RU @ predicted_UC.astype(np.float64)
    if metric == "micro_f1":
        return 2 * both_RC.sum(axis=1) / np.maximum(given_RC.sum(axis=1), 1)
    assert metric == "macro_f1"
    return (2 * both_RC / np.maximum(given_RC, 1)).sum(axis=1) / np.maximum((given_RC > 0).sum(axis=1), 1)


def _question_score(metric: str, columns: Columns, weights_RU: np.ndarray) -> np.ndarray:
    """Return the mean over all questions, or over those of `has_answer_f1`, of a value that each question has."""
    for prefix, answerable in (("has_answer_", True), ("no_answer_", False)):
        if metric.startswith(prefix):
            return _mean(columns[metric.removeprefix(prefix)], weights_RU * (columns["answerable"] == answerable))
    return _mean(columns[metric], weights_RU)


def _mean(values_U: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    return _divide(weights_RU @ values_U, weights_RU.sum(axis=1))


def _divide(sums_R: np.ndarray, counts_R: np.ndarray) -> np.ndarray:
    """Return the quotients, NaN where nothing was counted."""
    return np.divide(sums_R, counts_R, out=np.full(len(sums_R), np.nan), where=counts_R > 0)


_SCORES = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews_correlation": _matthews_correlation,
    "pearson": _pearson,
    "spearmanr": _spearmanr,
}
