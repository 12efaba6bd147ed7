"""What a search found is recorded: study.json with every trial, the best settings as a recipe, and the table that people read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from debft.config.recipe import Recipe
from debft.console import clock
from debft.output.plain import plain_table
from debft.output.recipes import number, recipe_yaml
from debft.output.text import DASH, counted
from debft.runs.storage import write_atomically
from debft.several.space import Value

FORMAT_VERSION = 1
TrialState = Literal["complete", "stopped", "failed", "running"]
STUDY, BEST = "study.json", "best.yaml"
MOST_SHOWN = 20  # trials in the table on the terminal


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A trial is recorded with its settings and what became of it."""

    number: int
    """Its number, from 0."""
    state: TrialState
    """What became of it; `stopped` was below the median of the others at the same part of its run, `running` was interrupted."""
    settings: dict[str, Value]
    """What it tried, by dotted key."""
    score: float | None
    """The selection score at its end, in percent; null where it did not come to it."""
    checks: dict[str, float]
    """The selection score on the way, in percent, by the part of the run that was done, in fifths."""
    seconds: float | None
    """Seconds from its start to its end, with what lay between; null where it has not ended."""
    directory: str
    """Its directory, relative to the study."""
    error: str | None
    """Why it failed; null where it did not, or where that was not recorded."""


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study is the content of study.json, and what `debft search --json` prints."""

    format_version: int = FORMAT_VERSION
    """Version of this file's format."""
    task: str
    """Name of the task, such as `text`."""
    model: str
    """Alias, hub id or directory of the model."""
    objective: str
    """What is to be as high as possible, in words."""
    space: dict[str, Any]
    """What was tried: choices or a range, by dotted key."""
    trials: list[TrialRecord]
    """Every trial, in order."""
    best: int | None
    """The number of the best trial; null where none is complete."""
    best_scores: dict[str, float]
    """Every score of the best trial in percent, those of a test split among them."""
    best_intervals: dict[str, list[float]]
    """95 % interval of each of these scores over the rows of its split, [low, high] in percent."""
    importance: dict[str, float]
    """The share of the variance of the score that each key explains (optuna's fANOVA); empty with fewer than 4 complete trials."""
    remark: str
    """What the score of the best trial does not say."""
    recipe: dict[str, Any]
    """The recipe that every trial started from."""

    def as_dict(self) -> dict[str, Any]:
        """Return what study.json holds."""
        return asdict(self)

    def of_state(self, state: str) -> list[TrialRecord]:
        """Return the trials that ended so."""
        return [trial for trial in self.trials if trial.state == state]

    def scored(self) -> list[tuple[int, float]]:
        """Return number and score of each complete trial."""
        return [(trial.number, trial.score) for trial in self.trials if trial.score is not None]

    def best_trial(self) -> TrialRecord | None:
        """Return the best trial, None where none is complete."""
        return None if self.best is None else next(trial for trial in self.trials if trial.number == self.best)

    def ranked(self) -> list[TrialRecord]:
        """Return the trials, the best first, then those without a score by their number."""
        return sorted(self.trials, key=lambda trial: (trial.score is None, -(trial.score or 0.0), trial.number))


def optimism(trials: int, split: str) -> str:
    """Return what the score of the best of so many complete trials does not say. split: the rows that chose it."""
    return (
        f"the score of the best trial is the highest of {counted(trials, 'trial')} on the same {split} rows, which chose it: "
        "expect less on others"
    )


def write_study(record: StudyRecord, directory: Path) -> None:
    """Write study.json."""
    content = json.dumps(record.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(directory / STUDY, content.encode())


def write_best(recipe: Recipe, directory: Path) -> None:
    """Write the recipe of the best trial, which runs as it stands. recipe: that of its run"""
    write_atomically(directory / BEST, (recipe_yaml(recipe) + "\n").encode())


def source_of(record: StudyRecord) -> str:
    """Return where the settings of the best trial come from, for its recipe."""
    best = record.best_trial()
    assert best is not None  # a recipe is written of a complete trial alone
    return (
        f"ours: the best of {counted(len(record.of_state('complete')), 'complete trial')} of debft search, trial {best.number}, by "
        f"{record.objective}: {best.score:.2f}"
    )


def trial_table(record: StudyRecord) -> Table:
    """Return a table of the best trials: number, score, state, settings and time. Names of keys are wrapped, numbers are not."""
    keys = list(record.space)
    names = {key: key.rpartition(".")[2].replace("_", " ") for key in keys}
    headers = ("trial", "score", "", *names.values(), "time")
    table = plain_table(*headers, left=("",), wrapped=tuple(names.values()))
    for trial in record.ranked()[:MOST_SHOWN]:
        table.add_row(*trial_cells(trial, keys))
    return table


def trial_cells(trial: TrialRecord, keys: Sequence[str]) -> list[str]:
    """Return a trial as text: number, score, state, settings, minutes and seconds."""
    return [
        str(trial.number),
        DASH if trial.score is None else f"{trial.score:.2f}",
        trial.state,
        *(number(trial.settings.get(key)) for key in keys),
        DASH if trial.seconds is None else clock(trial.seconds),
    ]


def best_lines(record: StudyRecord, selected: Sequence[str], num_rows: Mapping[str, int]) -> list[str]:
    """Return a line for each score of the best trial, with its interval, its rows, and whether these rows chose the trial.

    selected: the splits that chose it; num_rows: the rows of each split
    """
    lines = []
    for name, score in record.best_scores.items():
        split = name.partition("/")[0]
        interval = record.best_intervals.get(name)
        over = f"95 % {interval[0]:.2f} to {interval[1]:.2f}, " if interval else ""
        rows = f"{over}{counted(num_rows[split], 'row')}" if split in num_rows else over.rstrip(", ")
        chose = "chosen on these rows: expect less on others" if split in selected else "not used for the choice"
        lines.append(f"{name}  {score:.2f}  ({rows}; {chose})")
    return lines
