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

Judgement = tuple[VerdictWord, str]  # the verdict in a word, and with its reason

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
    scores = (score for row in table.rows for cell in row.cells.values() for score in cell)
    margins = sorted({score.margin for score in scores if score.margin is not None})
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
    beyond = abs(statistics.fmean(ours) - published.number) - tolerance_of(published)
    return float(2 * stdtr(len(ours) - 1, -beyond * math.sqrt(len(ours)) / _spread(ours))) if beyond > 0 else 1.0


def tolerance_of(published: PublishedScore) -> float:
    """Return how far from a published number our interval may reach, in points.

    A spread that the table prints is no part of it: the margin covers what the seeds behind the number move it.
    """
    assert published.margin is not None, "a published table states a margin"
    return published.margin + rounding(published)


def rounding(published: PublishedScore) -> float:
    """Return half a unit of the last digit that the cell prints for this number: 0.05 for `88.1`."""
    return 0.5 * 10.0 ** -printed_decimals(published.cell, published.number)


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
    seeds, sd = published.seeds, published.sd
    if seeds is None or sd is None:
        return math.nan
    rounding_of_six = 0.5 * 10.0 ** (math.floor(math.log10(abs(published.value))) - 5) if published.value else 0.0
    return rounding_of_six + _quantile(confidence, seeds) * sd * math.sqrt(1 / n + 1 / seeds)


def widest_frozen(published: PublishedScore) -> float:
    """Return the tolerance above which a frozen score judges nothing, in its own unit."""
    return WIDEST_FROZEN_POINTS if in_percent(published.score) else WIDEST_FROZEN_SHARE * abs(published.number)


def _settled(c: Comparison) -> Judgement | None:
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
    settled = _settled(c)
    if settled is not None:
        word, text = settled
    elif c.confidence is None:
        word, text = _judge_published(c.ours, c.published, is_outside, cells)
    else:
        word, text = _judge_frozen(c.ours, c.published, c.confidence)
    return _with_numbers(c, word, text)


def _with_numbers(c: Comparison, word: VerdictWord, text: str) -> Verdict:
    """Return the verdict with its numbers, as far as there are any."""
    n, value = len(c.ours), c.published.value
    if n == 0 or not all(map(math.isfinite, c.ours)):
        return Verdict(n=n, word=word, text=text)
    mean = statistics.fmean(c.ours)
    sd = low = high = difference = tolerance = None
    if n > 1:
        sd = statistics.stdev(c.ours)
        # What is frozen may have no spread at all, the learning rate for one, and is judged by the frozen spread.
        half = half_width(n, sd if c.confidence is not None else _spread(c.ours))
        low, high = mean - half, mean + half
    if value is not None and math.isfinite(value):
        difference = mean - value
        if c.confidence is None:
            tolerance = tolerance_of(c.published)
        elif n > 1 and not c.labels and math.isfinite(frozen := frozen_tolerance(c.published, n, c.confidence)):
            tolerance = frozen
    return Verdict(n=n, mean=mean, sd=sd, low=low, high=high, difference=difference, tolerance=tolerance, word=word, text=text)


def _judge_published(ours: Sequence[float], published: PublishedScore, is_outside: bool, cells: int) -> Judgement:
    """Judge by a published number: is the interval within the tolerance, wholly outside, or neither?"""
    difference, tolerance = statistics.fmean(ours) - published.number, tolerance_of(published)
    if is_outside:
        return _off(difference)
    low, high = interval(ours)
    if -tolerance <= low - published.number and high - published.number <= tolerance:
        return "reproduced", "reproduced"
    seeds = seeds_that_decide(difference, _spread(ours), tolerance, above=len(ours), cells=cells)
    return "undecided", f"undecided ({f'about {seeds}' if seeds else f'more than {MOST_SEEDS}'} seeds would decide)"


def _judge_frozen(ours: Sequence[float], published: PublishedScore, confidence: float) -> Judgement:
    """Judge by a frozen number: is our mean within a tolerance that is narrow enough to judge by?"""
    difference, widest = statistics.fmean(ours) - published.number, widest_frozen(published)
    tolerance = frozen_tolerance(published, len(ours), confidence)
    if not math.isfinite(tolerance):
        return "undecided", "undecided (the frozen number has no spread)"
    if abs(difference) > tolerance:
        return _off(difference)
    if tolerance <= widest:
        return "reproduced", "reproduced"
    enough = (n for n in range(len(ours) + 1, MOST_SEEDS + 1) if frozen_tolerance(published, n, confidence) <= widest)
    seeds = next(enough, None)
    why = f"{seeds} seeds would decide" if seeds else f"{MOST_SEEDS} seeds would not decide"
    return "undecided", f"undecided (+/-{tolerance:.3g} is wider than {widest:.3g}; {why})"


def _off(difference: float) -> Judgement:
    return ("above", "above") if difference > 0 else ("below", "below")


def _spread(ours: Sequence[float]) -> float:
    return max(statistics.stdev(ours), SMALLEST_SPREAD)


def _quantile(confidence: float, n: int) -> float:
    """Return the two-sided quantile of Student's t with n - 1 degrees of freedom; NaN for one seed or none."""
    return float(stdtrit(n - 1, 0.5 + confidence / 2)) if n > 1 else math.nan
