"""This module holds what report.json has: the cells of a table, each with its verdict, and the runs behind them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

FORMAT_VERSION = 2  # of report.json

VerdictWord = Literal["reproduced", "above", "below", "undecided", "labelled", "not run", "no number"]
RunStatus = Literal["complete", "failed", "interrupted", "not run", "damaged"]


@dataclass(frozen=True, kw_only=True)
class ReportedTable:
    """This is the table that was run again."""

    name: str
    """Its name on the command line, `deberta-v3`."""
    title: str
    """Its title, for people."""
    source: str
    """Where its numbers come from."""
    note: str | None
    """What a reader should know about the whole table."""
    kind: Literal["published", "measured"]
    """`published` by others, or `measured` and frozen by ourselves."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell is one score that the table prints, with ours beside it and the verdict.

    Scores are in percent, those of `train/` in their own unit.
    """

    row: str
    """The table row it stands in."""
    model: str
    """The model of that row, by its alias."""
    sift: bool
    """Whether the row is trained with SiFT."""
    column: str
    """The key of the table column."""
    header: str
    """The header of that column, as printed."""
    task: str
    """The task that is trained and evaluated."""
    score: str
    """`<split>/<metric>`, such as `validation_matched/accuracy`."""
    value: float | None
    """The number of the table; null where the cell prints none for this score."""
    cell: str
    """The whole cell verbatim, `88.1/88.3`; of a frozen table the number with up to ten digits."""
    spread: float | None
    """The `0.2` of `79.8+/-0.2`; of a frozen table the standard deviation over its seeds."""
    seeds: int | None
    """Runs that the number of the table is the mean of; null where its source does not say."""
    note: str | None
    """What a reader should know about the cell, its row, its column and its table."""
    source: str
    """Where the number comes from."""
    recipe: str | None
    """The packaged recipe that reproduces the cell; null where there is none."""
    recipe_source: str | None
    """Where the settings of that recipe come from."""
    dialect: str | None
    """The dialect of that recipe."""
    ours: bool
    """Whether that recipe is one of ours, because none was published."""
    labels: list[str]
    """Why our runs cannot count as a reproduction; empty where they can."""
    n: int
    """Complete runs that have this score."""
    mean: float | None
    """The mean of our runs."""
    sd: float | None
    """The standard deviation of our runs; null for fewer than two."""
    low: float | None
    """The lower end of the 95 % interval of our mean."""
    high: float | None
    """The upper end of the 95 % interval of our mean."""
    difference: float | None
    """Our mean minus the number of the table."""
    margin: float | None
    """By how much a mean may differ and still count as the same, as the table states it; null for a frozen table."""
    tolerance: float | None
    """How far from the number of the table the interval may reach (published), or our mean may lie (frozen)."""
    verdict: VerdictWord
    """The verdict in one word."""
    verdict_text: str
    """The verdict with its reason."""
    problem: str | None
    """Why the recipe cannot run here; null where it can."""
    runs: list[str]
    """The ids of the runs of the recipe, complete or not."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A curve is what a run logged on its way."""

    step: list[int]
    """Optimizer steps, the last one of each point."""
    loss: list[float]
    """The training loss at each point, the mean over its steps."""
    evaluations: list[dict[str, Any]]
    """The evaluations during training: `step`, and `scores` by `<split>/<metric>` in percent."""


@dataclass(frozen=True, kw_only=True)
class ReportedRun:
    """A reported run has one recipe and one seed. What is measured is null before the run is complete."""

    id: str
    """`<task>-<recipe>/seed-<seed>-<key>-<made>`, its directory below the output."""
    directory: str
    """Its directory, relative to the report."""
    task: str
    """The task that is trained and evaluated."""
    model: str | None
    """The model it starts from, by its alias."""
    rows: list[str]
    """The table rows that its recipe belongs to."""
    sift_weight: float
    """The weight of SiFT's loss; 0 without SiFT."""
    seed: int
    """The seed of weights, order and dropout."""
    status: RunStatus
    """What became of it."""
    error: str | None
    """Why it failed, or what is damaged, in one line."""
    recipe: str
    """The packaged recipe, by name."""
    recipe_hash: str
    """16 hex digits of everything in the recipe that moves a score; the same for all seeds."""
    dialect: str
    """The dialect of the recipe."""
    starts_from: str | None
    """The id of the run whose weights it starts from; null where it starts from the pre-trained model."""
    data: str
    """`hub`, `demo` or `directory`."""
    fingerprints: dict[str, str]
    """16 hex digits of the rows, by split."""
    environment: dict[str, Any] | None
    """Versions, code, device, precision and attention it ran with."""
    command: str
    """The command that made it, and makes it go on."""
    labels: list[str]
    """Why it cannot count as a reproduction; empty where it can."""
    scores: dict[str, float]
    """Its scores by `<split>/<metric>` in percent; those of `train/` in their own unit."""
    steps: int | None
    """Optimizer steps it took so far."""
    num_train_examples: int | None
    """Rows it was trained on."""
    num_tokens: int | None
    """Tokens it was trained on, without padding."""
    train_seconds: float | None
    """Seconds of training."""
    eval_seconds: float | None
    """Seconds of evaluation."""
    examples_per_second: float | None
    """Rows trained on per second."""
    tokens_per_second: float | None
    """Tokens trained on per second, without padding."""
    peak_memory_bytes: int | None
    """The most memory it used, in bytes."""
    curve: Curve
    """Its learning curve; without points where nothing was logged or the log is damaged."""


@dataclass(frozen=True, kw_only=True)
class OtherRun:
    """This run has the same recipe, rows and seed, but other code or versions made it. It is shown and never counted."""

    id: str
    """Its directory below the output."""
    directory: str
    """Its directory, relative to the report."""
    beside: str
    """The id of the run that this code makes instead."""
    status: str
    """`complete`, `damaged`, or `interrupted after step` and its number."""
    made_by: str
    """The code and the versions that made it, as far as they differ from those here."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report is the content of report.json, and of the page and the Markdown beside it."""

    format_version: int = FORMAT_VERSION
    """The version of this format."""
    table: ReportedTable
    """The table that was run again."""
    command: str
    """The command that made the report."""
    made: str
    """When it was made: date and time in UTC, ISO 8601."""
    versions: dict[str, str]
    """The versions that made the report, by package."""
    rule: str
    """How a verdict is reached, in words."""
    cells: list[Cell]
    """One entry per score of the table, in its order."""
    runs: list[ReportedRun]
    """Every run of the command, complete or not."""
    others: list[OtherRun]
    """The runs of the same recipes that other code or versions made."""

    def as_dict(self) -> dict[str, Any]:
        """Return what report.json holds."""
        return asdict(self)
