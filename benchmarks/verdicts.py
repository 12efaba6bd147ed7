"""How often the verdicts of `debft reproduce` are right, by simulation: scores drawn from normal distributions, judged by the rule.

    python benchmarks/verdicts.py

Published numbers: how often a true reproduction and a model one point worse are called reproduced, how many seeds a cell takes,
what the seeds behind the printed number do to that, and how often a perfect run of many cells shows a loss. Frozen numbers: false
alarms and what is seen. Seeded; half a minute on one core.
"""

import math

import numpy as np
from scipy import stats

from debft.published.load import load_published
from debft.reproduce.verdict import LEVEL, SMALLEST_SPREAD, frozen_tolerance, holm, rounding

DRAWS = 20_000
PRINTED, MARGIN = 88.1, 0.5
SPREADS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)
SEEDS = (2, 3, 5, 8, 10, 15, 20)
CELLS = 32


def interval(ours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of the mean; the last axis holds the seeds."""
    n = ours.shape[-1]
    half = stats.t.ppf(1 - LEVEL / 2, n - 1) * np.maximum(ours.std(-1, ddof=1), SMALLEST_SPREAD) / math.sqrt(n)
    return ours.mean(-1) - half, ours.mean(-1) + half


def reproduced(
    rng: np.random.Generator, n: int, spread: float, off: float, margin: float = MARGIN, behind: int | None = None
) -> float:
    """The share of draws that are called so, for a model `off` points from the truth.

    behind: the seeds whose mean is printed, of the same spread; None where the truth itself is printed
    """
    printed = PRINTED if behind is None else np.round(PRINTED + rng.normal(0, spread / math.sqrt(behind), (DRAWS, 1)), 1)
    ours = rng.normal(PRINTED + off, spread, (DRAWS, n)) - printed
    low, high = interval(ours)
    return float(np.mean((low >= -margin - 0.05) & (high <= margin + 0.05)))


def seeds_needed(rng: np.random.Generator, spread: float, margin: float, behind: int | None) -> str:
    """The fewest seeds at which a true reproduction is called so in 95 of 100 draws."""
    found = next((n for n in range(2, 51) if reproduced(rng, n, spread, 0.0, margin, behind) >= 0.95), None)
    return str(found or "> 50")


def before(ours: np.ndarray) -> np.ndarray:
    """What the rule before this one called reproduced, k = 1 behind the printed number."""
    n = ours.shape[-1]
    tolerance = 0.05 + stats.t.ppf(0.975, n - 1) * ours.std(-1, ddof=1) * math.sqrt(1 / n + 1)
    return (np.abs(ours.mean(-1) - PRINTED) <= tolerance) & (tolerance <= 2.0)


def correlated(rng: np.random.Generator, correlation: float, off: float, n: int = 8, spread: float = 0.3) -> np.ndarray:
    """Scores of CELLS cells over n seeds that share a part of their noise: draws x cells x seeds."""
    draws = DRAWS // 4
    noise = math.sqrt(correlation) * rng.normal(0, 1, (draws, 1, n)) + math.sqrt(1 - correlation) * rng.normal(
        0, 1, (draws, CELLS, n)
    )
    return PRINTED + off + spread * noise


def with_a_loss(ours: np.ndarray) -> float:
    """The share of runs in which at least one cell lies outside after Holm's correction."""
    n = ours.shape[-1]
    scale = np.maximum(ours.std(-1, ddof=1), SMALLEST_SPREAD) / math.sqrt(n)
    beyond = np.abs(ours.mean(-1) - PRINTED) - MARGIN - 0.05
    p_values = np.where(beyond > 0, 2 * stats.t.sf(beyond / scale, n - 1), 1.0)
    return float(np.mean([any(holm(of_run)) for of_run in p_values.tolist()]))


def frozen_shares(rng: np.random.Generator, k: int, n: int, confidence: float, off: float) -> float:
    """The share of draws outside the frozen tolerance; off: of our true mean, in standard deviations of a seed."""
    theirs, ours = rng.normal(0, 1, (DRAWS, k)), rng.normal(off, 1, (DRAWS, n))
    tolerance = stats.t.ppf(0.5 + confidence / 2, k - 1) * theirs.std(1, ddof=1) * math.sqrt(1 / n + 1 / k)
    return float(np.mean(np.abs(ours.mean(1) - theirs.mean(1)) > tolerance))


def print_line(name: str, values: list[str]) -> None:
    print(f"{name:<{42 + name.count(chr(10))}}" + "".join(f"{value:>8}" for value in values))


def main() -> None:
    rng = np.random.default_rng(0)
    for off, what in ((0.0, "true reproduction"), (-1.0, "one point worse")):
        print_line(f"{what}, reproduced in %", [f"n = {n}" for n in SEEDS])
        for spread in SPREADS:
            print_line(f"  spread {spread}", [f"{100 * reproduced(rng, n, spread, off):.1f}" for n in SEEDS])
    print_line("\nseeds for 95 % at a spread of", [str(spread) for spread in SPREADS])
    for margin in (0.5, 1.0):
        for behind, what in ((None, "exact"), (5, "of 5 seeds"), (1, "of 1 seed")):
            needed = [seeds_needed(rng, spread, margin, behind) for spread in SPREADS]
            print_line(f"  margin {margin}, printed number {what}", needed)
    print_line("\none point worse than the truth, %", [f"n = {n}" for n in SEEDS])
    for spread, behind in ((0.25, 5), (0.25, 1), (0.5, 5), (0.5, 1)):
        shares = [f"{100 * reproduced(rng, n, spread, -1.0, behind=behind):.1f}" for n in SEEDS]
        print_line(f"  spread {spread}, printed of {behind} seed(s)", shares)
    old = [f"{100 * np.mean(before(rng.normal(PRINTED - 1, 0.5, (DRAWS, n)))):.1f}" for n in SEEDS]
    print_line("\nthe rule before, one worse, sd 0.5", old)
    print(f"\na run of {CELLS} cells, 8 seeds, spread 0.3, with at least one cell above or below, in %")
    for off, what in ((0.0, "equal to the printed numbers"), (-0.55, "on the edge of the tolerance")):
        for correlation in (0.0, 0.5):
            print(f"  {what}, correlation {correlation}: {100 * with_a_loss(correlated(rng, correlation, off)):.1f}")
    print_line("\nfrozen, outside, in %; off by", [f"{off} sd" for off in (0, 1, 2, 3, 5, 8)])
    for name, k, n, confidence in (
        ("demo", 12, 3, 0.999),
        ("minilm-small, k = 3", 3, 7, 0.99),
        ("minilm-small, k = 20", 20, 7, 0.99),
    ):
        shares = [f"{100 * frozen_shares(rng, k, n, confidence, off):.1f}" for off in (0, 1, 2, 3, 5, 8)]
        print_line(f"  {name}, {n} seeds of ours", shares)
    for name in ("demo", "minilm-small"):
        table = load_published(name)
        scores = [
            score for row in table.rows for cell in row.cells.values() for score in cell if not score.score.startswith("train/")
        ]
        widest = max(frozen_tolerance(score, table.seeds, table.confidence) for score in scores)
        print(f"widest tolerance of a score of {name} at its {table.seeds} seeds: {widest:.2f} points")
    assert rounding(load_published("deberta-v3").rows[0].cells["mnli"][0]) == 0.05  # what the simulation adds to the margin


if __name__ == "__main__":
    main()
