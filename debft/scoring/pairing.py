"""Two sides that predicted the same rows are compared row by row, which tells far smaller differences than two intervals do.

A side is one run, or several of one recipe with other seeds. Its score is the mean over its runs. The rows are drawn anew, the same
ones for every run; the seeds are those that were run. Where each side is one run and the score an accuracy, the p value is that of
McNemar's test, which is exact; else it comes from the bootstrap.
Source: McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages, 1947, in its exact
form; Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16; Holm, A simple sequentially rejective multiple test
procedure, 1979.

Legend: N rows, U different ones, R resamples, M metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import bdtr  # the binomial distribution; scipy.stats takes two seconds to load

from debft.scoring.intervals import distinct_rows, percentiles, weightings
from debft.scoring.metrics.weighted import Columns, weighted_score

LEVEL = 0.05  # the chance to see a difference where there is none
RESAMPLES = 5000
Side = Sequence[Columns]  # the columns of each of its runs, of the same rows in the same order


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of one score between two sides, in points."""

    score: str
    """`<split>/<metric>`."""
    rows: int
    """Rows that both sides predicted."""
    first: float
    """Score of the first side in percent, the mean over its runs."""
    second: float
    """Score of the second side."""
    difference: float
    """Second minus first."""
    interval: tuple[float, float]
    """Its 95 % interval over the rows."""
    p: float
    """Probability of a difference at least this large where there is none."""
    p_holm: float
    """The same, corrected by Holm's method for all differences of the command."""
    test: str
    """`mcnemar` or `bootstrap`."""


def split_differences(split: str, metrics: Sequence[str], first: Side, second: Side) -> list[Difference]:
    """Compare the scores of a split."""
    runs = [*first, *second]
    joint, counts_U = distinct_rows({f"{i} {name}": column for i, run in enumerate(runs) for name, column in run.items()})
    distinct = [{name: joint[f"{i} {name}"] for name in run} for i, run in enumerate(runs)]
    drawn: dict[str, list[np.ndarray]] = {metric: [] for metric in metrics}
    for weights_RU in weightings(counts_U, resamples=RESAMPLES):
        for metric in metrics:
            drawn[metric].append(_sides(metric, distinct, weights_RU, len(first)))
    observed = {metric: _sides(metric, distinct, counts_U[None].astype(np.float64), len(first))[:, 0] for metric in metrics}
    found = [
        _difference(f"{split}/{metric}", int(counts_U.sum()), observed[metric], np.hstack(drawn[metric])) for metric in metrics
    ]
    exact = len(first) == len(second) == 1
    return [
        replace(one, p=(p := mcnemar(_right(first[0]), _right(second[0]))), p_holm=p, test="mcnemar")
        if exact and metric == "accuracy"
        else one
        for metric, one in zip(metrics, found, strict=True)
    ]


def mean_accuracy_difference(score: str, first: Sequence[Side], second: Sequence[Side]) -> Difference:
    """Compare the mean accuracy over languages. first, second: the side in each language, of the same rows translated."""
    first_N, second_N = (
        np.mean([_right(run).astype(np.float64) for language in side for run in language], axis=0) for side in (first, second)
    )
    joint, counts_U = distinct_rows({"first": first_N, "second": second_N})
    sides_2U = np.stack([joint["first"], joint["second"]])
    drawn_2R = np.hstack([sides_2U @ weights_RU.T / len(first_N) for weights_RU in weightings(counts_U, resamples=RESAMPLES)])
    return _difference(score, len(first_N), np.array([first_N.mean(), second_N.mean()]), drawn_2R)


def _sides(metric: str, runs: Sequence[Columns], weights_RU: np.ndarray, num_first: int) -> np.ndarray:
    """Return the mean score of each side under each weighting, (2, R)."""
    scores = [weighted_score(metric, run, weights_RU) for run in runs]
    return np.stack([np.mean(scores[:num_first], axis=0), np.mean(scores[num_first:], axis=0)])


def _difference(score: str, rows: int, observed_2: np.ndarray, drawn_2R: np.ndarray) -> Difference:
    difference_R = drawn_2R[1] - drawn_2R[0]
    difference_R = difference_R[~np.isnan(difference_R)]
    first, second = (100 * float(value) for value in observed_2)
    p = bootstrap_p(difference_R)
    low, high = percentiles(difference_R) or [round(second - first, 4)] * 2
    return Difference(
        score=score,
        rows=rows,
        first=round(first, 4),
        second=round(second, 4),
        difference=round(second - first, 4),
        interval=(low, high),
        p=p,
        p_holm=p,
        test="bootstrap",
    )


def bootstrap_p(difference_R: np.ndarray) -> float:
    """Return twice the share of the differences drawn that lie on the rarer side of 0, those at 0 with both."""
    size = 1 + len(difference_R)
    rounded_R = np.round(difference_R, 12)  # two sums of the same numbers may differ in their last digit
    return min(1.0, 2 * min(1 + int((rounded_R <= 0).sum()), 1 + int((rounded_R >= 0).sum())) / size)


def mcnemar(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """Return the exact p value: of the rows that one run alone is right about, each has half of them where they are as good.

    first_N, second_N: bool, which rows each run is right about
    """
    one, other = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
    return min(1.0, 2 * float(bdtr(min(one, other), one + other, 0.5)))


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences with the p values of Holm's method: with all of them, no more than LEVEL is risked to be wrong."""
    order = sorted(range(len(differences)), key=lambda i: differences[i].p)
    adjusted, highest = list(differences), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(differences) - rank) * differences[i].p))
        adjusted[i] = replace(differences[i], p_holm=highest)
    return adjusted


def _right(run: Columns) -> np.ndarray:
    return run["reference"] == run["prediction"]


def row_values(columns: Columns) -> np.ndarray:
    """Return how well each row is predicted, (N,): 1 or 0, F1 of an answer or a set of labels, minus the error of a score."""
    if "answerable" in columns:
        return columns["f1"]
    reference, prediction = columns["reference"], columns["prediction"]
    if reference.ndim == 2:
        given_N = reference.sum(axis=1) + prediction.sum(axis=1)
        return np.where(given_N > 0, 2 * (reference & prediction).sum(axis=1) / np.maximum(given_N, 1), 1.0)
    if reference.dtype.kind == "f":
        return -np.abs(prediction - reference)
    return (reference == prediction).astype(np.float64)
