"""This module judges a cell: does our mean over seeds reproduce the number in the table?

A published number is judged by an equivalence margin that the table states, never by our own noise: noise can leave a cell
undecided, it cannot make it reproduced. A number that we froze ourselves is judged by the spread that was frozen with it.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit  # Student's t: distribution and quantile, a hundred times faster than scipy.stats

from debft.output.pages.records import VerdictWord
from debft.published.load import PublishedScore, Table, printed_decimals
from debft.runs.result import in_percent

LEVEL = 0.05  # the chance of an error: of the interval of our mean, and of Holm's correction over the cells of one command
# Points. Scores are counts of right answers, so that two seeds can agree by chance: less spread than this is not believed. It is
# below every spread of a GLUE task over 20 seeds of BERT, RoBERTa and DeBERTa-v3 (0.18 is the smallest, RoBERTa on STS-B).
# Source: IBM/model-recycling at 58b0eef and 0dfeb00, *_pretrain_scores_table.md.
SMALLEST_SPREAD = 0.1
MOST_SEEDS = 50  # an undecided cell that would need more says only that
# The widest tolerance of a frozen score that still judges anything. Every breakage that a score alone sees costs it 17 points or
# more (benchmarks/RESULTS.md); what training logged has no points and gets a share of the frozen value.
WIDEST_FROZEN_POINTS = 7.5
WIDEST_FROZEN_SHARE = 2 / 3

PUBLISHED_RULE = (
    "The tolerance of a cell is the margin of its table and half a unit of the last printed digit. A cell is reproduced where the "
    "95 % interval of our mean (Student's t over the seeds) lies within the tolerance of the printed number. It is above or below "
    "where the interval lies wholly outside, at a confidence that Holm's method corrects for all cells of the command. Otherwise "
    "it is undecided, and so is a single seed, which shows no spread. A spread below "
    f"{SMALLEST_SPREAD:g} points counts as {SMALLEST_SPREAD:g}. Runs on demo data, on a subset, in another dialect or of a changed "
    "recipe are labelled and never count."
)
FROZEN_RULE = (
    "The tolerance of a cell is t x s x sqrt(1/n + 1/k), with s the standard deviation of the k seeds behind the frozen number, n "
    "our seeds and t Student's quantile for k - 1 degrees of freedom at the table's confidence, plus half a unit of the sixth "
    "digit. A cell is reproduced where |our mean - frozen mean| is at most its tolerance, else above or below. It is undecided "
    f"within a tolerance of more than {WIDEST_FROZEN_POINTS:g} points (two thirds of the value for what training logged), and "
    "with a single seed. A changed recipe, other data or a subset is labelled and never counts."
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison sets our scores, one per seed, beside one number of a table."""

    ours: Sequence[float]
    """Our scores, in the unit of the number."""
    published: PublishedScore
    """The number of the table."""
    confidence: float | None = None
    """The confidence of a table that was frozen by ourselves (FROZEN_RULE); None for a published one (PUBLISHED_RULE)."""
    labels: Sequence[str] = ()
    """Why these runs cannot count, whatever their scores."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A verdict says what our scores tell of one number, in the unit of the score, mostly points; None where they tell nothing."""

    n: int
    """The number of our scores."""
    mean: float | None = None
    """Their mean."""
    sd: float | None = None
    """Their standard deviation."""
    low: float | None = None
    """The lower end of the 95 % interval of the mean."""
    high: float | None = None
    """The upper end of the 95 % interval of the mean."""
    difference: float | None = None
    """The mean minus the number of the table."""
    tolerance: float | None = None
    """How far off the interval may reach (published) or our mean may lie (frozen)."""
    word: VerdictWord
    """The verdict; `no number` where the cell prints none."""
    text: str
    """The verdict with its reason."""


def rule_of(table: Table) -> str:
    """Return in words how the cells of this table are judged, with the source of its margin."""
    if table.kind == "measured":
        return FROZEN_RULE
    margins = sorted({score.margin for row in table.rows for cell in row.cells.values() for score in cell})
    return f"{PUBLISHED_RULE} The margin is {' or '.join(f'{m:g}' for m in margins)} points: {table.margin_source}."


def judge_all(comparisons: Sequence[Comparison]) -> list[Verdict]:
    """Judge each cell of one command. Published numbers share one correction for looking at many cells."""
    open_ones = [c for c in comparisons if c.confidence is None and _settled(c) is None]
    rejected = holm([p_outside(c.ours, c.published) for c in open_ones])
    outside = {id(c): is_outside for c, is_outside in zip(open_ones, rejected, strict=True)}
    return [_verdict(c, outside.get(id(c), False), len(open_ones)) for c in comparisons]


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Return which hypotheses are rejected when the chance of rejecting any true one is at most `level`.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not p_values[index] <= level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def p_outside(ours: Sequence[float], published: PublishedScore) -> float:
    """Return the smallest level at which the two-sided interval of our mean lies outside the tolerance; 1 where none does."""
    beyond = abs(statistics.fmean(ours) - published.value) - tolerance_of(published)
    return float(2 * stdtr(len(ours) - 1, -beyond * math.sqrt(len(ours)) / _spread(ours))) if beyond > 0 else 1.0


def tolerance_of(published: PublishedScore) -> float:
    """Return how far from a published number our interval may reach, in points.

    A spread that the table prints is no part of it: the margin covers what the seeds behind the number move it.
    """
    return published.margin + rounding(published)


def rounding(published: PublishedScore) -> float:
    """Return half a unit of the last digit that the cell prints for this number: 0.05 for `88.1`."""
    return 0.5 * 10.0 ** -printed_decimals(published.cell, published.value)


def interval(ours: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Return Student's interval of the mean of two scores or more at confidence 1 - level."""
    mean, half = statistics.fmean(ours), half_width(len(ours), _spread(ours), level)
    return mean - half, mean + half


def half_width(n: int, spread: float, level: float = LEVEL) -> float:
    """Return half the width of Student's interval of the mean of n scores whose standard deviation is `spread`."""
    return _quantile(1 - level, n) * spread / math.sqrt(n)


def seeds_that_decide(difference: float, spread: float, tolerance: float, *, above: int, cells: int = 1) -> int | None:
    """Return the fewest seeds, more than `above`, that would decide if mean and spread stayed; None for over `MOST_SEEDS`.

    cells: how many cells the correction is for; its strictest step is assumed
    """
    for n in range(max(above + 1, 2), MOST_SEEDS + 1):
        inside = abs(difference) + half_width(n, spread) <= tolerance
        if inside or abs(difference) - half_width(n, spread, LEVEL / cells) > tolerance:
            return n
    return None


def frozen_tolerance(published: PublishedScore, n: float, confidence: float) -> float:
    """Return how far the mean of n seeds may lie from a frozen number, which has six digits; NaN where its spread is unknown."""
    rounding_of_six = 0.5 * 10.0 ** (math.floor(math.log10(abs(published.value))) - 5) if published.value else 0.0
    return rounding_of_six + _quantile(confidence, published.seeds) * published.sd * math.sqrt(1 / n + 1 / published.seeds)


def widest_frozen(published: PublishedScore) -> float:
    """Return the tolerance above which a frozen score judges nothing, in its own unit."""
    return WIDEST_FROZEN_POINTS if in_percent(published.score) else WIDEST_FROZEN_SHARE * abs(published.value)


def _settled(c: Comparison) -> tuple[str, str] | None:
    """Return (word, text) where no comparison of scores is needed or possible."""
    if not c.ours:
        return "not run", "not run"
    if c.published.value is None:
        return "no number", "no number printed"
    if c.labels:
        return "labelled", f"labelled ({', '.join(c.labels)})"
    if not all(map(math.isfinite, c.ours)):
        return "undecided", "undecided (a score is not a finite number)"
    if not math.isfinite(c.published.value):
        return "undecided", "undecided (the number of the table is not finite)"
    if len(c.ours) == 1:
        return "undecided", "undecided (1 seed shows no spread)"
    return None


def _verdict(c: Comparison, is_outside: bool, cells: int) -> Verdict:
    numbers = _statistics(c)
    if settled := _settled(c):
        return Verdict(**numbers, word=settled[0], text=settled[1])
    judged = _judge_published(c, numbers, is_outside, cells) if c.confidence is None else _judge_frozen(c, numbers)
    return Verdict(**numbers, word=judged[0], text=judged[1])


def _statistics(c: Comparison) -> dict[str, float | None]:
    """Return the numbers of a verdict, as far as there are any."""
    n, value = len(c.ours), c.published.value
    numbers: dict[str, float | None] = {"n": n}
    if n == 0 or not all(map(math.isfinite, c.ours)):
        return numbers
    numbers["mean"] = statistics.fmean(c.ours)
    if n > 1:
        numbers["sd"] = statistics.stdev(c.ours)
        # What is frozen may have no spread at all, the learning rate for one, and is judged by the frozen spread.
        half = half_width(n, numbers["sd"] if c.confidence is not None else _spread(c.ours))
        numbers["low"], numbers["high"] = numbers["mean"] - half, numbers["mean"] + half
    if value is not None and math.isfinite(value):
        numbers["difference"] = numbers["mean"] - value
        if c.confidence is None:
            numbers["tolerance"] = tolerance_of(c.published)
        elif n > 1 and not c.labels and math.isfinite(tolerance := frozen_tolerance(c.published, n, c.confidence)):
            numbers["tolerance"] = tolerance
    return numbers


def _judge_published(c: Comparison, numbers: dict, is_outside: bool, cells: int) -> tuple[str, str]:
    """Return (word, text) for a published number: is the interval within the tolerance, wholly outside, or neither?"""
    difference, tolerance = numbers["difference"], numbers["tolerance"]
    if is_outside:
        word = "above" if difference > 0 else "below"
        return word, word
    if -tolerance <= numbers["low"] - c.published.value and numbers["high"] - c.published.value <= tolerance:
        return "reproduced", "reproduced"
    seeds = seeds_that_decide(difference, _spread(c.ours), tolerance, above=numbers["n"], cells=cells)
    return "undecided", f"undecided ({f'about {seeds}' if seeds else f'more than {MOST_SEEDS}'} seeds would decide)"


def _judge_frozen(c: Comparison, numbers: dict) -> tuple[str, str]:
    """Return (word, text) for a frozen number: is our mean within a tolerance that is narrow enough to judge by?"""
    difference, tolerance, widest = numbers["difference"], numbers.get("tolerance"), widest_frozen(c.published)
    if tolerance is None:
        return "undecided", "undecided (the frozen number has no spread)"
    if abs(difference) > tolerance:
        word = "above" if difference > 0 else "below"
        return word, word
    if tolerance <= widest:
        return "reproduced", "reproduced"
    enough = (n for n in range(numbers["n"] + 1, MOST_SEEDS + 1) if frozen_tolerance(c.published, n, c.confidence) <= widest)
    seeds = next(enough, None)
    why = f"{seeds} seeds would decide" if seeds else f"{MOST_SEEDS} seeds would not decide"
    return "undecided", f"undecided (+/-{tolerance:.3g} is wider than {widest:.3g}; {why})"


def _spread(ours: Sequence[float]) -> float:
    return max(statistics.stdev(ours), SMALLEST_SPREAD)


def _quantile(confidence: float, n: int) -> float:
    """Return the two-sided quantile of Student's t with n - 1 degrees of freedom; NaN for one seed or none."""
    return float(stdtrit(n - 1, 0.5 + confidence / 2)) if n > 1 else math.nan
