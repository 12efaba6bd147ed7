"""The interval of a score says how far other rows of the same kind would move it. What other seeds move is not in it.

The rows of a split are drawn anew, with replacement, RESAMPLES times, and scored each time; the interval holds the middle 95 %
of these scores. This percentile bootstrap is taken, not the accelerated one (BCa): it never leaves the range of a score, every
score and every mean of scores gets it in the same way, and a comparison of two runs draws the same rows for both. For a thousand
rows and more the two differ by less than the noise of the drawing.
Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; for scores of language tasks Berg-Kirkpatrick,
Burkett and Klein, An Empirical Investigation of Statistical Significance in NLP, 2012.

Legend: N rows, U different ones, R resamples, L languages.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from debft.scoring.metrics.weighted import Columns, weighted_score
from debft.scoring.outcomes import outcomes_of
from debft.tasks import Task

if TYPE_CHECKING:  # torch comes with it, which a comparison of runs does not need
    from debft.scoring.heads import Assessment

SEED = 20210  # the same predictions have the same interval, always
RESAMPLES = 2000
TAIL = 2.5  # percent on either side of a 95 % interval
CELLS = 1_000_000  # numbers of a table of weights that are held at a time: 8 MB
FEW = 8  # a row stands for so many equal ones at least where counts are drawn in place of rows


def intervals_of(task: Task, assessed: Mapping[str, "Assessment"]) -> dict[str, list[float]]:
    """Return the 95 % interval, [low, high] in percent, of each `<split>/<metric>` and of the means over languages.

    A score for which the predictions were made otherwise, `best_f1` and `micro_f1_at_0.5`, has none. Nor has one without any
    spread, but for accuracy.
    """
    outcomes = {name: outcomes_of(task, assessment.rows) for name, assessment in assessed.items()}
    intervals: dict[str, list[float] | None] = {}
    for name, columns in outcomes.items():
        metrics = [metric for metric in assessed[name].scores if is_of_predictions(metric)]
        intervals |= {f"{name}/{metric}": low_high for metric, low_high in split_intervals(columns, metrics).items()}
    for part in dict.fromkeys(name.partition(".")[0] for name in assessed if "." in name):
        of_languages = [columns for name, columns in outcomes.items() if name.startswith(f"{part}.")]
        if len(of_languages) > 1 and "accuracy" in task.metrics:
            intervals[f"{part}.avg/accuracy"] = mean_accuracy_interval(of_languages)
    return {name: low_high for name, low_high in intervals.items() if low_high is not None}


def is_of_predictions(metric: str) -> bool:
    """Tell whether the predictions of a run are those that the score is of, and not such as another threshold gives."""
    return not metric.startswith("best_") and "_at_" not in metric


def split_intervals(columns: Columns, metrics: list[str]) -> dict[str, list[float] | None]:
    """Return the interval of each score of a split in percent, None where the rows give none. columns: (N,) each."""
    distinct, counts_U = distinct_rows(columns)
    drawn: dict[str, list[np.ndarray]] = {metric: [] for metric in metrics}
    for weights_RU in weightings(counts_U):
        for metric, scores in drawn.items():
            scores.append(weighted_score(metric, distinct, weights_RU))
    return {
        metric: _exact_interval(columns) if metric == "accuracy" and _all_alike(columns) else percentiles(np.concatenate(scores))
        for metric, scores in drawn.items()
    }


def mean_accuracy_interval(of_languages: Sequence[Columns]) -> list[float] | None:
    """Return the interval of the mean accuracy over languages, in percent.

    The rows of a language are translations of those of any other, so a row is drawn in all of them at once. Where the splits
    are not of the same rows, each is drawn by itself.
    """
    first = of_languages[0]["reference"]
    if all(np.array_equal(columns["reference"], first) for columns in of_languages):
        right_NL = np.stack([columns["reference"] == columns["prediction"] for columns in of_languages], axis=1)
        share, counts_U = np.unique(right_NL.mean(axis=1), return_counts=True)
        return percentiles(np.concatenate([weights_RU @ share / len(first) for weights_RU in weightings(counts_U)]))
    drawn_LR = [
        np.concatenate([weighted_score("accuracy", distinct, weights_RU) for weights_RU in weightings(counts_U, seed)])
        for seed, (distinct, counts_U) in enumerate(map(distinct_rows, of_languages))
    ]
    return percentiles(np.mean(drawn_LR, axis=0))


def distinct_rows(columns: Columns) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the different rows, (U,) a column, and how many rows each stands for, (U,)."""
    keys_NK = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    _, first_U, counts_U = np.unique(keys_NK, axis=0, return_index=True, return_counts=True)
    return {name: column[first_U] for name, column in columns.items()}, counts_U


def weightings(counts_U: np.ndarray, seed: int = SEED, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """Give tables (R, U) of how often each different row is drawn when as many rows as there are, N, are drawn from them."""
    rng = np.random.default_rng([SEED, seed])
    N, U = int(counts_U.sum()), len(counts_U)
    at_once = max(1, CELLS // U)
    row_N = np.repeat(np.arange(U), counts_U)
    for start in range(0, resamples, at_once):
        R = min(at_once, resamples - start)
        if FEW * U <= N:
            weights_RU = rng.multinomial(N, counts_U / N, size=R)
        else:
            weights_RU = np.stack([np.bincount(row_N[rng.integers(0, N, N)], minlength=U) for _ in range(R)])
        yield weights_RU.astype(np.float64)


def percentiles(drawn_R: np.ndarray) -> list[float] | None:
    """Return the middle 95 % of scores that are fractions, in percent; None without any spread, of which nothing can be said."""
    low, high = np.nanpercentile(drawn_R, [TAIL, 100 - TAIL]) if not np.isnan(drawn_R).all() else (0.0, 0.0)
    return [round(100 * float(low), 4), round(100 * float(high), 4)] if low < high else None


def _all_alike(columns: Columns) -> bool:
    """Tell whether every row is right, or every one wrong, which no drawing can change."""
    return len(np.unique(columns["reference"] == columns["prediction"])) == 1


def _exact_interval(columns: Columns) -> list[float]:
    """Return Clopper and Pearson's interval of an accuracy: 20 rows of 20 right do not show that no row would be wrong."""
    import scipy.stats

    right = int((columns["reference"] == columns["prediction"]).sum())
    low, high = scipy.stats.binomtest(right, len(columns["reference"])).proportion_ci(0.95, method="exact")
    return [round(100 * float(low), 4), round(100 * float(high), 4)]
