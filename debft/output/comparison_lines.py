"""This module puts a comparison of runs into lines for a terminal."""

from typing import Any

from debft.console import broken
from debft.output.comparison import ComparisonOfRuns, DifferingRow, Pair, Side, p_text
from debft.output.layout import fitted
from debft.output.text import counted
from debft.tasks.titles import score_title

ROWS_SHOWN = 5


def printed(comparison: ComparisonOfRuns, width: int, shown: int = ROWS_SHOWN) -> list[str]:
    """Return the lines for people, none wider than `width` unless a path is."""
    found = [line for side in comparison.sides for line in _side_lines(side)]
    for pair in comparison.pairs:
        found += ["", *_table(comparison.task, pair, width), "", *(line for one in pair.verdicts for line in broken(one, width))]
        found.append(
            f"rows: {pair.first} better on {pair.better_first:,}, {pair.second} better on {pair.better_second:,}, "
            f"the same on {pair.same:,}"
        )
        for row in pair.rows[:shown]:
            found += _row_lines(pair, row, width)
    return [*found, "", *(line for remark in _remarks(comparison) for line in broken(remark, width))]


def _side_lines(side: Side) -> list[str]:
    runs = side.runs[0] if len(side.runs) == 1 else f"{side.runs[0]} and {counted(len(side.runs) - 1, 'more seed')}"
    seeds = f"seed{'s' if len(side.seeds) > 1 else ''} {', '.join(map(str, side.seeds))}"
    changed = [f"    {key} {value}, of A {usual}" for key, (value, usual) in side.changed.items() if key != "model"]
    return [f"{side.name}   {runs}   {side.model}   {seeds}", *changed]


def _table(task: str, pair: Pair, width: int) -> list[str]:
    head = ["", pair.first, pair.second, "diff", "95 % interval", "p", "rows"]
    rows = [
        [
            score_title(task, one.score),
            f"{one.first:.2f}",
            f"{one.second:.2f}",
            f"{one.difference:+.2f}",
            f"[{one.interval[0]:+.2f}, {one.interval[1]:+.2f}]",
            p_text(one.p_holm),
            f"{one.rows:,}",
        ]
        for one in pair.differences
    ]
    blocks = fitted([head, *rows], width, turn=False, right=range(1, 7), whole=range(1, 7))
    return [line.plain for block in blocks for line in block]


def _row_lines(pair: Pair, row: DifferingRow, width: int) -> list[str]:
    guesses = {pair.first: row.first, pair.second: row.second}
    said = ", ".join(f"{name} {' / '.join(dict.fromkeys(map(_words, of_runs)))}" for name, of_runs in guesses.items())
    found = [f"{row.split} {row.id}: true {_words(row.label)}, {said}"]
    found += [f"  {name}: {' '.join(text.split())}" for name, text in row.texts.items()]
    return [line if len(line) <= width else f"{line[: width - 4]} ..." for line in found]


def _words(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(str, value)) or "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value) or "no answer"


def _remarks(comparison: ComparisonOfRuns) -> list[str]:
    tests = sum(len(pair.differences) for pair in comparison.pairs)
    kinds = {one.test for pair in comparison.pairs for one in pair.differences}
    how = " and ".join(
        words for kind, words in (("mcnemar", "McNemar's exact test"), ("bootstrap", "the paired bootstrap")) if kind in kinds
    )
    holm = f", corrected for {tests} comparisons (Holm)" if tests > 1 else ""
    found = [f"p: by {how}{holm}; the interval draws the rows anew, the same for every run; seeds are those that were run"]
    if comparison.left_out:
        found.append(f"not compared, since the rows differ: {', '.join(comparison.left_out)}")
    return found
