"""This module sums up what several runs of one recipe scored: the file summary.json, and the table that people read."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from debft.output.plain import plain_table
from debft.output.text import DASH
from debft.reproduce.verdict import half_width
from debft.runs.result import possible_range
from debft.runs.storage import write_atomically

FORMAT_VERSION = 1
SUMMARY = "summary.json"
T_RULE = "95 % interval of the mean by Student's t over the seeds: about further seeds with the same rows, not about other rows"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A spread tells how one score varied over the runs, in percent."""

    n: int
    """Runs that are counted."""
    mean: float
    """Their mean."""
    sd: float | None
    """Their standard deviation (n - 1); null for a single run."""
    interval: tuple[float, float] | None
    """The two ends of the 95 % interval that `rule` of the summary explains; null for a single run, and where all agree."""
    by_run: dict[str, float]
    """The score of each run that is counted, by its seed or fold."""
    published: float | None = None
    """The published number; null where the runs are not set beside one."""


StatusOfSeveral = Literal["complete", "failed", "interrupted", "damaged", "not run"]


@dataclass(frozen=True, kw_only=True)
class RunOfSeveral:
    """This is one of the runs, complete or not."""

    number: int
    """Its seed or fold."""
    directory: str
    """Its directory, relative to the summary."""
    status: StatusOfSeveral
    """What became of it."""
    error: str | None
    """Why it failed or what is damaged; null where nothing is wrong."""
    command: str
    """The command that makes it, or makes it go on."""
    scores: dict[str, float]
    """Its score of each `<split>/<metric>` in percent; empty where it is not complete."""
    fingerprints: dict[str, str]
    """Digest of the rows of each split."""
    made_by: str | None = None
    """What made it, where that is not the code and the versions that are here; it is counted all the same."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The predictions of all folds are scored together, each row once."""

    n: int
    """Rows."""
    scores: dict[str, float]
    """Score over all rows of each `<split>/<metric>`, in percent."""
    intervals: dict[str, list[float]]
    """95 % bootstrap interval over the rows, [low, high] in percent, by score; without those that have none."""
    file: str
    """The file of the predictions, relative to the summary."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A summary is the content of summary.json, and what `--seeds` and `--folds` print with `--json`."""

    format_version: int = FORMAT_VERSION
    """Version of this file's format."""
    over: Literal["seed", "fold"]
    """What differs from run to run."""
    task: str
    """Name of the task, such as `mnli`."""
    model: str
    """Alias, hub id or directory of the model."""
    scores: dict[str, Spread]
    """The spread of each `<split>/<metric>` over the complete runs."""
    rule: str
    """What the intervals are, in words."""
    runs: list[RunOfSeveral]
    """Every run that was asked for."""
    recipe: dict[str, Any]
    """The recipe that all have in common, with the first seed."""
    pooled: Pooled | None = None
    """Of folds: the scores over all rows, each predicted by the run that was not trained on it; null where a fold is missing."""

    def as_dict(self) -> dict[str, Any]:
        """Return what summary.json holds."""
        return asdict(self)

    def write(self, directory: Path) -> None:
        """Write summary.json."""
        content = json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(directory / SUMMARY, content.encode())


def spread_of(score: str, by_run: Mapping[str, float], *, published: float | None = None, with_interval: bool = True) -> Spread:
    """Return mean, standard deviation and Student's 95 % interval of the mean, as far as the score can be.

    score: `<split>/<metric>`; by_run: its value in at least one run, by seed or fold
    """
    scores = list(by_run.values())
    mean, n = statistics.fmean(scores), len(scores)
    sd = statistics.stdev(scores) if n > 1 else None
    half = half_width(n, sd) if sd and with_interval else None  # runs that agree to the last digit show no spread to judge by
    lowest, highest = possible_range(score)
    interval = None if half is None else (max(mean - half, lowest), min(mean + half, highest))
    return Spread(n=n, mean=mean, sd=sd, interval=interval, by_run=dict(by_run), published=published)


def spread_table(summary: Summary) -> Table:
    """Return a line for each score: mean, spread, interval and n, then the runs' own scores. Only names are wrapped."""
    columns = _columns(summary)
    numbers = list(dict.fromkeys(number for spread in summary.scores.values() for number in spread.by_run))
    table = plain_table("score", *columns, *(f"{summary.over}\n{n}" for n in numbers), left=("score",), wrapped=("score",))
    for row, (name, spread) in enumerate(summary.scores.items()):
        own = [f"{spread.by_run[n]:.2f}" if n in spread.by_run else DASH for n in numbers]
        table.add_row(name, *(cells[row] for cells in columns.values()), *own)
    return table


def _columns(summary: Summary) -> dict[str, list[str]]:
    """Return the cells of each column of numbers, by its header."""
    spreads, pooled = summary.scores.values(), summary.pooled
    columns = {"mean": [f"{s.mean:.2f}" for s in spreads], "sd": [DASH if s.sd is None else f"{s.sd:.2f}" for s in spreads]}
    counts = [str(s.n) for s in spreads]
    if summary.over == "seed":
        columns |= {"95 % interval": [_interval_text(s.interval) for s in spreads], "n": counts}
    else:
        columns["n"] = counts
    if pooled:
        columns["pooled"] = [f"{pooled.scores[name]:.2f}" if name in pooled.scores else DASH for name in summary.scores]
        columns["95 % interval"] = [_interval_text(pooled.intervals.get(name)) for name in summary.scores]
    if any(s.published is not None for s in spreads):
        columns["published"] = [DASH if s.published is None else f"{s.published:g}" for s in spreads]
    return columns


def _interval_text(interval: Sequence[float] | None) -> str:
    return DASH if interval is None else "{:.2f} to {:.2f}".format(*interval)
