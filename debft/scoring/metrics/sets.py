"""Scores of sets of labels: references and predictions are (N, C), 1 where row n has label c, else 0. Each is a fraction.

Legend: N rows, C labels.
"""

import numpy as np

DEFAULT_THRESHOLD = 0.5  # the probability from which a label is predicted where none was chosen


def micro_f1(references_NC: np.ndarray, predictions_NC: np.ndarray) -> float:
    """Return the F1 of all decisions, each label of each row one of them; 0 where no label is true or predicted."""
    true_C, predicted_C, both_C = _counts(references_NC, predictions_NC)
    given = int(true_C.sum() + predicted_C.sum())
    return 2.0 * int(both_C.sum()) / given if given else 0.0


def macro_f1(references_NC: np.ndarray, predictions_NC: np.ndarray) -> float:
    """Return the mean of the F1 of every label that is predicted or true, as scikit-learn's with zero_division=nan; 0 for none."""
    true_C, predicted_C, both_C = _counts(references_NC, predictions_NC)
    given_C = true_C + predicted_C
    return float((2.0 * both_C[given_C > 0] / given_C[given_C > 0]).mean()) if given_C.any() else 0.0


def subset_accuracy(references_NC: np.ndarray, predictions_NC: np.ndarray) -> float:
    """Return the share of rows whose predicted set of labels is the true one."""
    return float((np.asarray(references_NC) == np.asarray(predictions_NC)).all(axis=1).mean())


def _counts(references_NC: np.ndarray, predictions_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each label the rows that have it, those it is predicted for, and those of which both is so, (C,) each."""
    true_NC, predicted_NC = np.asarray(references_NC, dtype=bool), np.asarray(predictions_NC, dtype=bool)
    return true_NC.sum(axis=0), predicted_NC.sum(axis=0), (true_NC & predicted_NC).sum(axis=0)


def best_thresholds(references_NC: np.ndarray, probabilities_NC: np.ndarray) -> np.ndarray:
    """Return the probability from which each label is best predicted, by its F1 on these rows, (C,) float64.

    Every set of rows that a threshold can tell apart is tried. Of equal F1 the threshold nearest to 0.5 counts, and of equally near
    ones the lower. Where 0.5 itself does as well it is kept; else a threshold lies half way between the two probabilities that it
    parts. A label that no row has gets 0.5: nothing says where its threshold should be.
    """
    columns = zip(np.asarray(references_NC, dtype=bool).T, np.asarray(probabilities_NC, dtype=np.float64).T, strict=True)
    return np.array([_best_threshold(true_N, p_N) for true_N, p_N in columns])


def _best_threshold(true_N: np.ndarray, p_N: np.ndarray) -> float:
    if not true_N.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-p_N, kind="stable")
    p_N = p_N[order]
    last = np.flatnonzero(np.append(p_N[1:] != p_N[:-1], True))  # of rows with equal probability all are predicted, or none
    f1 = 2.0 * np.cumsum(true_N[order])[last] / (true_N.sum() + last + 1)
    lowest, below = p_N[last], np.append(p_N[1:], 0.0)[last]  # thresholds in (below, lowest] predict the same rows
    half_way = (lowest + below) / 2
    half_way = np.where(half_way > below, half_way, lowest)  # neighbours among the floats have nothing between them
    thresholds = np.where((below < DEFAULT_THRESHOLD) & (lowest >= DEFAULT_THRESHOLD), DEFAULT_THRESHOLD, half_way)
    best = thresholds[f1 == f1.max()]
    return float(min(best, key=lambda threshold: (abs(threshold - DEFAULT_THRESHOLD), threshold)))
