"""Whether a cell was reproduced: our mean over seeds against the number in the table."""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as students_t

from debft.published import PublishedScore

WIDEST = 2.0  # points; a tolerance above it would call almost anything reproduced

PUBLISHED_RULE = (
    "A cell is reproduced where |our mean - printed number| is at most its tolerance: half a unit of the last printed digit, plus "
    "t x s x sqrt(1/n + 1/k), with s the standard deviation of our n seeds, t Student's 97.5 % quantile for n - 1 degrees of "
    "freedom, and k the seeds behind the printed number (1 where that is not known). Where the table prints a spread of its own "
    "(79.8+/-0.2), it takes the place of the k seeds: sqrt((t x s)^2 / n + spread^2). One seed alone is indicative, and so are "
    f"seeds so far apart that the tolerance is above {WIDEST:g} points without our mean leaving it. Runs on demo data, on a "
    "subset, in another dialect or of a changed recipe are labelled and never count."
)
FROZEN_RULE = (
    "A cell is reproduced where |our mean - frozen mean| is at most t x s x sqrt(1/n + 1/k), with s the standard deviation of "
    "the k seeds behind the frozen number, n our seeds and t Student's quantile for k - 1 degrees of freedom at the table's "
    "confidence, plus half a unit of the sixth digit. A changed recipe, other data or a subset is labelled and never counts."
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Our n scores against one number. low, high: the 95 % interval of our mean; all in the unit of the score, mostly points.

    word: `reproduced`, `above`, `below`, `indicative` or `not run`
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    tolerance: float | None = None
    word: str
    text: str


def judge(
    ours: Sequence[float], published: PublishedScore, *, confidence: float | None = None, labels: Sequence[str] = ()
) -> Verdict:
    """The verdict on `ours`, one score per seed.

    confidence: of a table that was frozen by ourselves (FROZEN_RULE); None for a published one (PUBLISHED_RULE)
    labels: why these runs cannot count, whatever their scores
    """
    n = len(ours)
    if n == 0:
        return Verdict(n=0, word="not run", text="not run")
    mean = statistics.fmean(ours)
    sd = statistics.stdev(ours) if n > 1 else None
    half = _quantile(0.95, n) * sd / math.sqrt(n) if sd is not None else None
    found = {
        "n": n, "mean": mean, "sd": sd, "low": None if half is None else mean - half, "high": None if half is None else mean + half,
    }  # fmt: skip
    if published.value is None:
        return Verdict(**found, word="indicative", text="no number printed")
    found["difference"] = mean - published.value
    frozen = confidence is not None and n > 1
    tolerance = _frozen_tolerance(published, n, confidence) if frozen else _tolerance(published, n, sd)
    if labels:
        return Verdict(**found, word="indicative", text=f"indicative ({', '.join(labels)})")
    if tolerance is None:
        return Verdict(**found, word="indicative", text="indicative (n = 1)")
    found["tolerance"] = tolerance
    if abs(found["difference"]) > tolerance:
        word = "above" if found["difference"] > 0 else "below"
    elif tolerance > WIDEST and not confidence:
        return Verdict(**found, word="indicative", text=f"indicative (n = {n}, +/-{tolerance:.1f})")
    else:
        word = "reproduced"
    return Verdict(**found, word=word, text=word)


def rounding(published: PublishedScore) -> float:
    """Half a unit of the last digit that is printed: 0.05 for `88.1`."""
    digits = re.search(r"\d+\.?(\d*)", published.cell)
    return 0.5 * 10.0 ** -len(digits[1]) if digits else 0.0


def _tolerance(published: PublishedScore, n: int, sd: float | None) -> float | None:
    if sd is None:
        return None
    ours = _quantile(0.95, n) * sd
    if published.spread is not None:
        return rounding(published) + math.hypot(ours / math.sqrt(n), published.spread)
    return rounding(published) + ours * math.sqrt(1 / n + 1 / (published.seeds or 1))


def _frozen_tolerance(published: PublishedScore, n: int, confidence: float) -> float:
    """Needs `sd` and `seeds` of the frozen number, which the loader asks for. It is written with six digits."""
    rounding_of_six = 0.5 * 10.0 ** (math.floor(math.log10(abs(published.value))) - 5) if published.value else 0.0
    return rounding_of_six + _quantile(confidence, published.seeds) * published.sd * math.sqrt(1 / n + 1 / published.seeds)


def _quantile(confidence: float, n: int) -> float:
    """Two-sided, of Student's t with n - 1 degrees of freedom."""
    return float(students_t.ppf(0.5 + confidence / 2, n - 1))
