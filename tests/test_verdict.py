"""The tolerance rule: rounding, seeds on both sides, the table's own spread, and what never counts."""

import math

import numpy as np
import pytest
from scipy import stats

from debft.published import PublishedScore
from debft.reproduce.verdict import WIDEST, judge, rounding


def published(value=88.1, cell="88.1/88.3", **more):
    known = {"table": "t", "row": "r", "score": "validation/accuracy", "spread": None, "source": "s", "note": None}
    return PublishedScore(**known | {"value": value, "cell": cell} | more)


def test_interval_of_the_mean_equals_scipys():
    ours = [88.0, 88.3, 88.1, 88.4, 87.9]
    verdict = judge(ours, published())
    low, high = stats.t.interval(0.95, len(ours) - 1, loc=np.mean(ours), scale=stats.sem(ours))
    assert (verdict.low, verdict.high) == (pytest.approx(low), pytest.approx(high))
    assert (verdict.n, verdict.mean, verdict.sd) == (5, pytest.approx(np.mean(ours)), pytest.approx(np.std(ours, ddof=1)))


def test_difference_within_the_rounding_of_the_printed_digit_is_reproduced_even_without_spread():
    assert judge([88.149, 88.149, 88.149], published()).word == "reproduced"
    assert judge([88.051, 88.051, 88.051], published()).word == "reproduced"
    assert judge([88.151, 88.151, 88.151], published()).word == "above"
    assert judge([88.049, 88.049, 88.049], published()).word == "below"


@pytest.mark.parametrize(("cell", "half_a_unit"), [("88.1/88.3", 0.05), ("79.8+/-0.2", 0.05), ("91", 0.5), ("82.84/80.40", 0.005)])
def test_rounding_is_half_a_unit_of_the_last_printed_digit(cell, half_a_unit):
    assert rounding(published(cell=cell)) == pytest.approx(half_a_unit)


@pytest.mark.parametrize("seeds", [None, 1, 5])
def test_tolerance_counts_the_seeds_on_both_sides_and_one_where_unknown(seeds):
    ours = [88.0, 88.2, 88.4]
    expected = 0.05 + stats.t.ppf(0.975, 2) * 0.2 * math.sqrt(1 / 3 + 1 / (seeds or 1))
    assert judge(ours, published(seeds=seeds)).tolerance == pytest.approx(expected)


def test_spread_that_the_table_prints_takes_the_place_of_its_seeds():
    ours = [79.9, 80.0, 80.1]
    verdict = judge(ours, published(79.8, "79.8+/-0.2", spread=0.2))
    ours_half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert verdict.tolerance == pytest.approx(0.05 + math.hypot(ours_half, 0.2))
    assert judge([80.04] * 3, published(79.8, "79.8+/-0.2", spread=0.2)).word == "reproduced"
    assert judge([80.06] * 3, published(79.8, "79.8+/-0.2", spread=0.2)).word == "above"
    assert judge([80.04] * 3, published(79.8, "79.8")).word == "above"


def test_one_seed_is_indicative_whatever_it_scored():
    for score in (88.1, 95.0, 20.0):
        verdict = judge([score], published())
        assert (verdict.word, verdict.text, verdict.difference) == ("indicative", "indicative (n = 1)", pytest.approx(score - 88.1))


def test_one_seed_of_a_frozen_table_is_indicative_too():
    frozen = published(73.0, "73.0+/-1.0", spread=1.0, sd=1.0, seeds=12)
    assert judge([73.0], frozen, confidence=0.999).text == "indicative (n = 1)"


def test_nothing_run_is_not_run_and_a_cell_without_a_number_has_no_verdict():
    assert judge([], published()).word == "not run"
    verdict = judge([88.0, 88.2], published(None, "88.8/"))
    assert (verdict.word, verdict.text, verdict.difference) == ("indicative", "no number printed", None)


def test_seeds_too_far_apart_reproduce_nothing_but_a_loss_beyond_them_is_below():
    scattered = judge([80.0, 96.2], published())
    assert scattered.tolerance > WIDEST
    assert scattered.text.startswith("indicative (n = 2, +/-")
    assert judge([60.0, 60.0, 60.9], published()).word == "below"
    assert judge([20.0, 22.0, 24.0], published()).word == "below"


def test_labelled_runs_never_count_even_with_the_printed_score():
    for score in (88.1, 20.0):
        verdict = judge([score] * 5, published(), labels=["demo data"])
        assert (verdict.word, verdict.text, verdict.tolerance) == ("indicative", "indicative (demo data)", None)


def test_frozen_cell_uses_its_own_measured_spread_and_confidence():
    frozen = published(73.0, "73.0+/-1.0", spread=1.0, sd=1.0, seeds=12)
    tolerance = stats.t.ppf(0.9995, 11) * math.sqrt(1 / 3 + 1 / 12)
    assert judge([73.0] * 3, frozen, confidence=0.999).tolerance == pytest.approx(tolerance + 0.5e-4)
    assert judge([73.0 - tolerance + 0.01] * 3, frozen, confidence=0.999).word == "reproduced"
    assert judge([73.0 - tolerance - 0.01] * 3, frozen, confidence=0.999).word == "below"
    assert judge([73.0 + tolerance + 0.01] * 3, frozen, confidence=0.999).word == "above"


def test_frozen_number_without_spread_must_be_met_to_six_digits():
    frozen = published(0.0005, "0.0005+/-0", spread=0.0, sd=0.0, seeds=12)
    assert judge([0.0005, 0.0005000004], frozen, confidence=0.999).word == "reproduced"
    assert judge([0.00050001] * 3, frozen, confidence=0.999).word == "above"
    assert judge([0.00049999] * 3, frozen, confidence=0.999).word == "below"


def test_rule_calls_a_true_reproduction_so_in_about_95_of_100_cases():
    """Both sides drawn from one normal distribution, 5 seeds each; seeded, 2,000 times. Rounding makes it a little more."""
    rng = np.random.default_rng(0)
    words = []
    for _ in range(2000):
        printed = round(float(rng.normal(88.0, 0.2, 5).mean()), 1)
        words.append(judge(rng.normal(88.0, 0.2, 5).tolist(), published(printed, f"{printed:.1f}", seeds=5)).word)
    assert 0.94 < words.count("reproduced") / len(words) < 0.99


def test_rule_sees_a_loss_of_a_point_nearly_always():
    rng = np.random.default_rng(1)
    words = [judge(rng.normal(87.1, 0.2, 5).tolist(), published(seeds=5)).word for _ in range(500)]
    assert words.count("below") / len(words) > 0.97
