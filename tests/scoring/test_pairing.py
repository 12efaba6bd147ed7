"""Two sides on the same rows: McNemar's test by hand, power and size by simulation, Holm by a worked example."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import scipy.stats

from debft.scoring import pairing
from debft.scoring.pairing import corrected, mcnemar, mean_accuracy_difference, row_values, split_differences


def run_of(right, reference=None):
    """A run that is right about these rows, with two labels."""
    reference = np.arange(len(right)) % 2 if reference is None else reference
    return {"reference": reference, "prediction": np.where(right, reference, 1 - reference)}


def two_runs(both, first_alone, second_alone, neither):
    """Rows by which run is right about them."""
    first = np.repeat([True, True, False, False], [both, first_alone, second_alone, neither])
    second = np.repeat([True, False, True, False], [both, first_alone, second_alone, neither])
    return run_of(first), run_of(second)


def difference(first, second, metric="accuracy"):
    (found,) = split_differences("validation", [metric], [first], [second])
    return found


def test_known_flips_give_their_difference_and_mcnemars_p():
    """Of 1,000 rows the second run alone is right about 40, the first about 10: the binomial test of 10 of 50."""
    found = difference(*two_runs(900, 10, 40, 50))
    assert (found.first, found.second, found.difference, found.rows) == (91.0, 94.0, 3.0, 1000)
    assert found.p == pytest.approx(scipy.stats.binomtest(10, 50).pvalue)
    assert found.test == "mcnemar"
    low, high = found.interval
    error = 100 * 50**0.5 / 1000  # the standard error of the difference, sqrt(10 + 40) rows, but for its square
    assert (low, high) == pytest.approx((3 - 1.96 * error, 3 + 1.96 * error), abs=0.15)


def test_same_number_of_flips_on_both_sides_is_no_difference():
    found = difference(*two_runs(900, 25, 25, 50))
    assert (found.difference, found.p) == (0.0, 1.0)


def test_same_predictions_have_no_spread_and_p_1():
    first, second = two_runs(900, 0, 0, 100)
    for metric in ("accuracy", "macro_f1"):
        found = difference(first, second, metric)
        assert (found.difference, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)


def test_paired_test_sees_what_two_intervals_cannot():
    """20 rows of 2,000 flipped one way: one point, where each run's own interval is three points wide."""
    assert difference(*two_runs(1600, 0, 20, 380)).p < 1e-4


@pytest.mark.parametrize(("metric", "lowest"), [("accuracy", 0.0), ("macro_f1", 0.01)])
def test_no_difference_is_seen_in_about_one_of_twenty_where_there_is_none(metric, lowest, monkeypatch):
    """Of 300 pairs of runs that are as good, with 95 % certainty; McNemar's exact test may be rarer, since p comes in steps.

    The bound above is four standard errors of a share of 0.05.
    """
    monkeypatch.setattr(pairing, "RESAMPLES", 400)
    rng, seen = np.random.default_rng(0), 0
    for _ in range(300):
        hard = rng.random(200)  # the runs agree on many rows, as models of the same data do
        first, second = (run_of(rng.random(200) < 0.3 + 0.7 * hard) for _ in range(2))
        seen += difference(first, second, metric).p < 0.05
    assert lowest <= seen / 300 <= 0.05 + 4 * (0.05 * 0.95 / 300) ** 0.5


def test_real_difference_is_seen_as_often_as_theory_says():
    """30 against 10 flips on average: a normal approximation puts the power at 0.88; the bound is far below it."""
    rng, seen = np.random.default_rng(1), 0
    for _ in range(100):
        kinds = rng.choice(4, 500, p=[0.82, 0.02, 0.06, 0.10])
        seen += difference(run_of(np.isin(kinds, [0, 1])), run_of(np.isin(kinds, [0, 2]))).p < 0.05
    assert seen >= 70


def test_side_of_several_seeds_scores_the_mean_of_its_runs():
    first, second = two_runs(80, 5, 10, 5)
    (found,) = split_differences("validation", ["accuracy"], [first, second], [second, second])
    assert (found.first, found.second) == (87.5, 90.0)
    assert found.test == "bootstrap"


def test_seeds_on_both_sides_are_drawn_the_same_rows():
    """Three runs that are better on the same 30 of 1,000 rows: the spread is that of these rows, not of three times as many."""
    first, second = two_runs(870, 0, 30, 100)
    (many,) = split_differences("validation", ["accuracy"], [first] * 3, [second] * 3)
    one = difference(first, second)
    assert many.interval == pytest.approx(one.interval, abs=1e-6)


def test_correlations_and_answers_are_compared():
    rng = np.random.default_rng(2)
    reference = rng.normal(size=300)
    near, far = ({"reference": reference, "prediction": reference + rng.normal(0, noise, 300)} for noise in (0.3, 1.0))
    for metric in ("pearson", "spearmanr"):
        assert difference(far, near, metric).p < 0.01
    good, bad = (
        {"f1": rng.random(300) ** power, "exact_match": np.zeros(300), "answerable": np.ones(300, bool)} for power in (0.5, 2)
    )
    assert difference(bad, good, "f1").p < 0.01
    assert difference(bad, good, "exact_match").p == 1.0


def test_mean_over_languages_is_that_of_the_languages():
    first, second = two_runs(80, 5, 10, 5)
    found = mean_accuracy_difference("test.avg/accuracy", [[first], [second]], [[second], [second]])
    assert (found.first, found.second, found.difference) == (87.5, 90.0, 2.5)


def test_holm_multiplies_by_the_tests_that_are_left():
    """p values 0.01, 0.04, 0.03 of three tests: 3 x 0.01, then 2 x 0.03, and 0.04 not below the one before it."""
    one = difference(*two_runs(10, 1, 1, 1))
    found = corrected([replace(one, p=p) for p in (0.01, 0.04, 0.03)])
    assert [one.p_holm for one in found] == pytest.approx([0.03, 0.06, 0.06])


def test_mcnemar_equals_the_binomial_test():
    for one, other in product(range(9), repeat=2):
        first, second = np.array([True] * one + [False] * other + [True]), np.array([False] * one + [True] * other + [True])
        expected = scipy.stats.binomtest(one, one + other).pvalue if one + other else 1.0
        assert mcnemar(first, second) == pytest.approx(expected), (one, other)


def test_row_value_tells_how_well_each_kind_of_row_is_predicted():
    assert row_values({"reference": np.array([0, 1]), "prediction": np.array([0, 0])}).tolist() == [1, 0]
    assert row_values({"reference": np.array([1.0]), "prediction": np.array([3.0])}).tolist() == [-2]
    sets = {"reference": np.array([[True, True], [False, False]]), "prediction": np.array([[True, False], [False, False]])}
    assert row_values(sets).tolist() == pytest.approx([2 / 3, 1])
