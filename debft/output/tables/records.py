"""This module holds what `debft tables --json` prints: cells as printed, our scores beside them, footnotes, the other runs."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PrintedColumn:
    """A printed column holds no scores, but such as the size of the vocabulary."""

    key: str
    """The key of its cells in `cells` of a row."""
    header: str
    """Its header, as printed."""
    task: None = None
    """It has no task."""
    split: None = None
    """It has no split."""
    notes: list[int]
    """The numbers of its footnotes."""

    @property
    def scores(self) -> list[str]:
        """It prints no scores; not in the JSON."""
        return []


@dataclass(frozen=True, kw_only=True)
class ScoredColumn:
    """A scored column holds the scores on one task."""

    key: str
    """The key of its cells in `cells`, `recipes` and `ours` of a row."""
    header: str
    """Its header, as printed."""
    task: str
    """The task that is trained and evaluated."""
    scores: list[str]
    """The scores that a cell prints, in its order, each `<split>/<metric>`."""
    split: str | None
    """The split of the benchmark, as far as its source says."""
    margin: float | None
    """Points by which a mean may differ and still count as the same; null in a measured table."""
    notes: list[int]
    """The numbers of its footnotes."""


@dataclass(frozen=True, kw_only=True)
class OurScores:
    """These scores are of our runs beside one cell: the mean of those that may be compared, or one run that may not."""

    text: str
    """What is printed, such as `ours 88.2/88.3 (mean of 3 runs)`."""
    scores: dict[str, float | None]
    """The mean of each score in percent, by `<split>/<metric>`; null where no run has it."""
    runs: list[str]
    """The directories of the runs."""
    seeds: list[int]
    """Their seeds, in the same order."""
    compared: bool
    """Whether they may be compared with the cell."""
    dialect: str
    """The dialect of their recipe."""
    reason: str | None
    """Why the run is not compared; null where it is."""
    notes: list[int]
    """The numbers of the footnotes."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A table row has its cells as printed and our runs beside them."""

    row: str
    """Its name, as printed."""
    model: str
    """Its model, by the alias."""
    sift: bool
    """Whether it is trained with SiFT."""
    notes: list[int]
    """The numbers of the footnotes about the whole row."""
    cells: dict[str, str]
    """Its cells verbatim, by key of the column."""
    cell_notes: dict[str, list[int]]
    """The numbers of the footnotes of single cells, by key of the column."""
    seeds: dict[str, int]
    """The number of runs behind a cell, where the source says so, by key of the column."""
    recipes: dict[str, str]
    """The packaged recipe that reproduces a cell, where there is one, by key of the column."""
    ours: dict[str, list[OurScores]]
    """Our runs beside a cell, by key of the column."""


@dataclass(frozen=True, kw_only=True)
class ShownTable:
    """A shown table has its columns and rows, ready to be printed."""

    name: str
    """Its name on the command line."""
    title: str
    """Its title, for people."""
    kind: str
    """`published` by others, or `measured` and frozen by ourselves."""
    heading: str
    """The kind in words."""
    source: str
    """Where its numbers come from."""
    repeats: str | None
    """The table whose experiments it prints again."""
    confidence: float | None
    """The confidence of the intervals of a measured table, 0 to 1."""
    data: str | None
    """The data that a measured table was measured on."""
    notes: list[int]
    """The numbers of the footnotes about the whole table."""
    columns: list[PrintedColumn | ScoredColumn]
    """Its columns behind the names of the rows."""
    rows: list[TableRow]
    """Its rows."""


@dataclass(frozen=True, kw_only=True)
class Footnote:
    """A footnote is a note that several places can refer to."""

    number: int
    """Its number, from 1."""
    text: str
    """What it says."""


@dataclass(frozen=True, kw_only=True)
class RunBesideNoCell:
    """This run stands beside no cell of the tables shown."""

    run: str
    """Its directory."""
    reason: str
    """Why it stands beside none."""


@dataclass(frozen=True, kw_only=True)
class TablesDocument:
    """The document holds the tables that were asked for, with the runs that were given."""

    tables: list[ShownTable]
    """The tables."""
    footnotes: list[Footnote]
    """The footnotes of all tables, in the order of their numbers."""
    other_runs: list[RunBesideNoCell]
    """The runs that stand beside no cell."""
    damaged: list[str]
    """What is wrong with each run that cannot be read, a line each."""

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return asdict(self)
