"""The interval of a score: the weighted scores against scikit-learn and scipy, the bootstrap against scipy's own."""

import numpy as np
import pytest
import scipy.stats

from debft.scoring import intervals
from debft.scoring.heads import Assessment
from debft.scoring.metrics import by_name, squad
from debft.scoring.metrics.weighted import weighted_score
from debft.scoring.outcomes import outcomes_of
from debft.tasks import TASKS

LABELLED = ("accuracy", "f1", "macro_f1", "matthews_correlation")
TOLERANCE = 0.02  # of a fraction: the 2.5th percentile of 2,000 draws of a spread of 0.05 is known to about 0.005


def columns_of(metric, count=80, seed=0):
    """Predictions that are right for about three rows of four, or close to the numbers."""
    rng = np.random.default_rng(seed)
    if metric in by_name.OF_NUMBERS:
        reference = rng.integers(0, 11, count) / 2
        return {"reference": reference, "prediction": np.round(reference + rng.normal(0, 1.5, count), 1)}
    reference = rng.integers(0, 2 if metric == "f1" else 3, count)
    other = rng.integers(0, 2 if metric == "f1" else 3, count)
    return {"reference": reference, "prediction": np.where(rng.random(count) < 0.7, reference, other)}


@pytest.mark.parametrize("metric", by_name.METRICS)
def test_weighted_score_equals_the_score_of_the_rows_drawn(metric):
    """by_name computes by scikit-learn and scipy."""
    columns = columns_of(metric)
    rng = np.random.default_rng(1)
    drawn = [rng.integers(0, 80, 80) for _ in range(5)]
    weights = np.stack([np.bincount(rows, minlength=80) for rows in drawn]).astype(float)
    expected = [by_name.compute(metric, columns["prediction"][rows], columns["reference"][rows]) for rows in drawn]
    assert weighted_score(metric, columns, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", by_name.METRICS)
def test_weighted_score_of_a_constant_side_is_the_plain_one(metric):
    columns = {"reference": np.array([0, 1, 1, 0]), "prediction": np.array([1, 1, 1, 1])}
    expected = by_name.compute(metric, columns["prediction"], columns["reference"])
    assert weighted_score(metric, columns, np.ones((1, 4)))[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", by_name.METRICS)
def test_interval_equals_scipy_bootstrap(metric):
    columns = columns_of(metric)
    oracle = scipy.stats.bootstrap(
        (columns["prediction"], columns["reference"]),
        lambda predictions, references: weighted_score(
            metric, {"reference": references, "prediction": predictions}, np.ones((1, 80))
        )[0],
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    low, high = intervals.split_intervals(columns, [metric])[metric]
    assert (low / 100, high / 100) == pytest.approx((oracle.low, oracle.high), abs=TOLERANCE)


@pytest.mark.parametrize("metric", by_name.OF_SETS)
def test_weighted_score_of_sets_of_labels_equals_the_score_of_the_rows_drawn(metric):
    rng = np.random.default_rng(7)
    true, predicted = rng.random((60, 4)) < 0.3, rng.random((60, 4)) < 0.3
    rows = [
        {"label": [str(c) for c in np.flatnonzero(one)], "prediction": [str(c) for c in np.flatnonzero(other)]}
        for one, other in zip(true, predicted, strict=True)
    ]
    columns = outcomes_of(TASKS["text"], rows)
    drawn = rng.integers(0, 60, 60)
    weights = np.bincount(drawn, minlength=60).astype(float)[None]
    assert weighted_score(metric, columns, weights)[0] == pytest.approx(by_name.compute(metric, predicted[drawn], true[drawn]))
    low, high = intervals.split_intervals(columns, [metric])[metric]
    assert low < 100 * by_name.compute(metric, predicted, true) < high


def test_interval_is_the_same_every_time():
    columns = columns_of("macro_f1")
    assert intervals.split_intervals(columns, ["macro_f1"]) == intervals.split_intervals(columns, ["macro_f1"])


def test_interval_covers_the_true_accuracy_as_often_as_it_says():
    """Of 400 samples 95 % hold the true value; the bound is four standard errors of that share below it."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        prediction = (rng.random(300) < 0.8).astype(int)
        low, high = intervals.split_intervals({"reference": np.ones(300, int), "prediction": prediction}, ["accuracy"])["accuracy"]
        held += low <= 80 <= high
    assert held / 400 > 0.95 - 4 * (0.95 * 0.05 / 400) ** 0.5


def test_accuracy_without_a_wrong_row_has_the_exact_interval():
    """Clopper and Pearson's lower bound of n right of n is (alpha / 2)^(1/n)."""
    columns = {"reference": np.ones(20, int), "prediction": np.ones(20, int)}
    found = intervals.split_intervals(columns, ["accuracy", "macro_f1"])
    assert found["accuracy"] == pytest.approx([100 * 0.025 ** (1 / 20), 100], abs=1e-3)
    assert found["macro_f1"] is None


def test_interval_of_squad_is_that_of_the_mean_of_its_questions():
    rng = np.random.default_rng(4)
    gold = [["the red house"] if rng.random() < 0.5 else [] for _ in range(200)]
    predictions = [(rng.choice(["red house", "house", "tree", ""])) for _ in range(200)]
    rows = [{"label": label, "prediction": prediction} for label, prediction in zip(gold, predictions, strict=True)]
    scores = squad.scores(dict(enumerate(predictions)), dict(enumerate(gold)))
    columns = outcomes_of(TASKS["squad2"], rows)
    for metric, score in scores.items():
        assert weighted_score(metric, columns, np.ones((1, 200)))[0] == pytest.approx(score / 100, abs=1e-12)
    found = intervals.intervals_of(TASKS["squad2"], {"validation": Assessment(scores=scores | {"best_f1": 1.0}, rows=rows)})
    assert set(found) == {f"validation/{metric}" for metric in scores}
    oracle = scipy.stats.bootstrap((columns["f1"],), np.mean, method="percentile", rng=np.random.default_rng(5)).confidence_interval
    assert found["validation/f1"] == pytest.approx([100 * oracle.low, 100 * oracle.high], abs=100 * TOLERANCE)


def test_interval_of_the_mean_over_languages_draws_a_row_in_all_of_them_at_once():
    """Languages that are right for the same rows tell no more than one of them; the others' mean has a smaller spread."""
    reference = np.random.default_rng(6).integers(0, 3, 400)
    wrong = (reference + 1) % 3
    one = {"reference": reference, "prediction": np.where(np.arange(400) % 4 == 0, wrong, reference)}
    other = {"reference": reference, "prediction": np.where(np.arange(400) % 4 == 1, wrong, reference)}
    alone = intervals.split_intervals(one, ["accuracy"])["accuracy"]
    assert intervals.mean_accuracy_interval([one, one]) == pytest.approx(alone, abs=1.0)  # another drawing of 2,000
    low, high = intervals.mean_accuracy_interval([one, other])
    assert high - low < 0.8 * (alone[1] - alone[0])  # two disjoint halves of the wrong rows: 0.58 of it


def test_f1_counts_labels_in_the_order_of_the_task():
    rows = [{"label": "equivalent", "prediction": "equivalent"}, {"label": "not_equivalent", "prediction": "equivalent"}]
    columns = outcomes_of(TASKS["mrpc"], rows)
    assert weighted_score("f1", columns, np.ones((1, 2)))[0] == pytest.approx(2 / 3)
