"""Runs that predicted the same rows are compared with the first of them: which is better, by how much, and on which rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from debft.config.differences import differing_keys
from debft.config.recipe import value_at
from debft.errors import InputError, one_of
from debft.output.tables.runs import FinishedRun, find_runs
from debft.runs.directory import RunDirectory
from debft.scoring.metrics.weighted import Columns
from debft.scoring.outcomes import outcomes_of
from debft.scoring.pairing import LEVEL, Difference, corrected, mean_accuracy_difference, row_values, split_differences
from debft.tasks import Task, task_of
from debft.tasks.titles import score_title

SAME_ROWS = "train one of them again on the --data of the other, with as many rows of it held out and evaluated"
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class Side:
    """A side is one run, or several of one recipe that differ in their seed alone."""

    name: str
    """`A`, `B`, ..."""
    runs: list[str]
    """Their directories."""
    model: str
    """Their model."""
    seeds: list[int]
    """Their seeds."""
    changed: dict[str, tuple[Any, Any]]
    """Keys of the recipe in which the side differs from the first one: its value, and that of the first one."""


@dataclass(frozen=True, kw_only=True)
class DifferingRow:
    """A row that one side predicts better than the other."""

    split: str
    """Its split."""
    id: str
    """Its id."""
    label: Any
    """What is true."""
    first: list[Any]
    """What each run of the first side predicts."""
    second: list[Any]
    """What each run of the second side predicts."""
    gain: float
    """How much better the second side predicts it: -1 to 1, for a score the difference of the errors."""
    texts: dict[str, str]
    """Its texts where a run has kept them, those of the rows it is most wrong about; else empty."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A side was compared with the first one."""

    first: str
    """Name of the first side."""
    second: str
    """Name of the other one."""
    differences: list[Difference]
    """The difference of each score."""
    verdicts: list[str]
    """What it says, in words."""
    better_first: int
    """Rows that the first side predicts better."""
    better_second: int
    """Rows that the other one predicts better."""
    same: int
    """Rows that both predict as well."""
    rows: list[DifferingRow]
    """The rows that one side predicts better, the largest differences first, of equal ones those with their texts."""


@dataclass(frozen=True, kw_only=True)
class ComparisonOfRuns:
    """It was compared what several runs predicted."""

    task: str
    """Their task."""
    sides: list[Side]
    """What is compared."""
    pairs: list[Pair]
    """Each other side with the first one."""
    left_out: list[str]
    """Splits that not every run has predicted on the same rows."""

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints: everything but the single rows, which `--rows` writes."""
        content = asdict(self)
        for pair in content["pairs"]:
            del pair["rows"]
        return content


def compare(places: Sequence[str]) -> ComparisonOfRuns:
    """Compare the runs in `places` with the first of them. Raises InputError where they did not predict the same rows."""
    found = find_runs(places)
    if found.damaged:
        raise InputError(*found.damaged.values())
    runs = list(found.finished)
    if len(runs) < 2:
        raise InputError(f"{', '.join(places)}: expected at least two different complete runs, found {len(runs)}; name them")
    if len(tasks := dict.fromkeys(run.task for run in runs)) > 1:
        raise InputError(f"{', '.join(places)}: expected runs of one task, got runs of {', '.join(tasks)}; leave the others out")
    groups = _grouped(runs)
    splits, left_out = _common_splits(runs)
    task = task_of(runs[0].task, runs[0].recipe.languages)
    sides = [_side(name, group, groups[0][0]) for name, group in zip(NAMES, groups, strict=False)]
    predicted = {run.path: {split: RunDirectory(Path(run.path)).predictions(split, task) for split in splits} for run in runs}
    for split in splits:
        _check_same_rows(split, [(run.path, predicted[run.path][split]) for run in runs])
    pairs = [_pair(task, sides[0], side, splits, predicted) for side in sides[1:]]
    return ComparisonOfRuns(task=task.name, sides=sides, pairs=_with_verdicts(task.name, pairs), left_out=left_out)


def _grouped(runs: list[FinishedRun]) -> list[list[FinishedRun]]:
    """Return the runs of each side. Where all differ in their seed alone, every seed is a side."""
    groups: list[list[FinishedRun]] = []
    for run in runs:
        same = (group for group in groups if _differ_by_seed_alone(group[0], run))
        group = next(same, None)
        groups.append([run]) if group is None else group.append(run)
    groups = groups if len(groups) > 1 else [[run] for run in runs]
    if len(groups) > len(NAMES):
        raise InputError(f"expected at most {len(NAMES)} sides, got {len(groups)}; compare fewer runs")
    return groups


def _differ_by_seed_alone(one: FinishedRun, other: FinishedRun) -> bool:
    keys = set(differing_keys(one.recipe, other.recipe, "resume")) - {"data"}  # a directory may have several names
    return keys == {"train.seed"} and one.fingerprints == other.fingerprints


def _side(name: str, runs: list[FinishedRun], first: FinishedRun) -> Side:
    keys = [key for key in differing_keys(first.recipe, runs[0].recipe, "resume") if key != "data"]
    seeds = [run.recipe.train.seed for run in runs]
    changed = {key: (value_at(runs[0].recipe, key), value_at(first.recipe, key)) for key in keys if key != "train.seed"}
    return Side(name=name, runs=[run.path for run in runs], model=runs[0].model, seeds=seeds, changed=changed)


def _common_splits(runs: list[FinishedRun]) -> tuple[list[str], list[str]]:
    """Return the splits whose rows are the same for all runs, and those that are not. Raises InputError where there is none."""
    every = list(dict.fromkeys(split for run in runs for split in run.result.num_examples))
    same = [split for split in every if len({run.fingerprints.get(split) for run in runs}) == 1 and _all_scored(runs, split)]
    if same:
        return same, [split for split in every if split not in same]
    others = [run for run in runs if _rows_of(run) != _rows_of(runs[0])] or runs[-1:]
    rows = "; ".join(f"{run.path}: {_rows_of(run)}" for run in (runs[0], others[0]))
    some = len(runs) - len(others) > 1  # what the first one can still be compared with
    advice = f"leave out {one_of(run.path for run in others)}" if some else SAME_ROWS
    raise InputError(f"expected runs that were evaluated on the same rows, got other fingerprints ({rows}); {advice}")


def _rows_of(run: FinishedRun) -> str:
    return ", ".join(f"{split} {run.fingerprints.get(split, 'unknown')}" for split in run.result.num_examples)


def _all_scored(runs: list[FinishedRun], split: str) -> bool:
    return all(split in run.result.num_examples and split in run.fingerprints for run in runs)


def _check_same_rows(split: str, predicted: list[tuple[str, list[dict[str, Any]]]]) -> None:
    """Raise InputError where two runs list other rows: somebody has changed a file."""
    first, rows = predicted[0]
    expected = [(row["id"], row["label"]) for row in rows]
    for path, others in predicted[1:]:
        if [(row["id"], row["label"]) for row in others] != expected:
            raise InputError(
                f"{path}: predictions/{split}.jsonl: expected the rows of {first}, got others though their fingerprints agree; "
                "one of the files was changed"
            )


def _pair(task: Task, first: Side, second: Side, splits: list[str], predicted: dict[str, dict[str, list]]) -> Pair:
    columns = {
        (side.name, split): [outcomes_of(task, predicted[run][split]) for run in side.runs]
        for side in (first, second)
        for split in splits
    }
    differences = _mean_differences(splits, first, second, columns)
    for split in splits if not differences else ():
        one, other = columns[first.name, split], columns[second.name, split]
        differences += split_differences(split, compared_metrics(one[0], task), one, other)
    gains = {split: _mean_values(columns[second.name, split]) - _mean_values(columns[first.name, split]) for split in splits}
    every = np.round(np.concatenate(list(gains.values())), 9)
    return Pair(
        first=first.name,
        second=second.name,
        differences=differences,
        verdicts=[],
        better_first=int((every < 0).sum()),
        better_second=int((every > 0).sum()),
        same=int((every == 0).sum()),
        rows=_differing_rows(first, second, gains, predicted),
    )


def _mean_values(runs: Sequence[Columns]) -> np.ndarray:
    """Return how well each row is predicted, the mean over the runs, (N,)."""
    return np.mean([row_values(run) for run in runs], axis=0)


def compared_metrics(columns: Columns, task: Task) -> tuple[str, ...]:
    """Return the metrics that are compared: those of the task, which for own data its predictions tell."""
    if "answerable" in columns or task.name != "text":
        return task.metrics
    if columns["reference"].ndim == 2:
        return ("micro_f1", "macro_f1")
    return ("pearson", "spearmanr") if columns["reference"].dtype.kind == "f" else ("accuracy", "macro_f1")


def _mean_differences(
    splits: list[str], first: Side, second: Side, columns: Mapping[tuple[str, str], Sequence[Columns]]
) -> list[Difference]:
    """Return the differences of the means over languages, where there are several of the same rows."""
    found = []
    for part in dict.fromkeys(split.partition(".")[0] for split in splits if "." in split):
        languages = [split for split in splits if split.startswith(f"{part}.")]
        one, other = ([columns[side.name, split] for split in languages] for side in (first, second))
        same = all(np.array_equal(language[0]["reference"], one[0][0]["reference"]) for language in one)
        if len(languages) > 1 and same:
            found.append(mean_accuracy_difference(f"{part}.avg/accuracy", one, other))
    return found


def _differing_rows(
    first: Side, second: Side, gains: dict[str, np.ndarray], predicted: dict[str, dict[str, list]]
) -> list[DifferingRow]:
    texts = _kept_texts([*first.runs, *second.runs])
    found = []
    for split, gain_N in gains.items():
        of_first, of_second = ([predicted[run][split] for run in side.runs] for side in (first, second))
        for i in np.flatnonzero(np.round(gain_N, 9)):
            row = of_first[0][i]
            found.append(
                DifferingRow(
                    split=split,
                    id=row["id"],
                    label=row["label"],
                    first=[rows[i]["prediction"] for rows in of_first],
                    second=[rows[i]["prediction"] for rows in of_second],
                    gain=round(float(gain_N[i]), 6),
                    texts=texts.get((split, row["id"]), {}),
                )
            )
    return sorted(found, key=lambda row: (-abs(row.gain), not row.texts))


def _kept_texts(runs: list[str]) -> dict[tuple[str, str], dict[str, str]]:
    """Return the texts that the analyses of the runs have kept, by split and id."""
    texts: dict[tuple[str, str], dict[str, str]] = {}
    for path in runs:
        analysis = RunDirectory(Path(path)).analysis()
        for name, split in (analysis.splits if analysis else {}).items():
            shown = [*split.worst, *(row for kind in split.answers for row in kind.examples)]
            texts |= {(name, row.id): row.texts for row in shown}
    return texts


def _with_verdicts(task: str, pairs: list[Pair]) -> list[Pair]:
    """Return the pairs with p values that are corrected for all of them, and what they say."""
    adjusted = corrected([one for pair in pairs for one in pair.differences])
    done = []
    for pair in pairs:
        own, adjusted = adjusted[: len(pair.differences)], adjusted[len(pair.differences) :]
        done.append(replace(pair, differences=own, verdicts=[verdict(task, pair, one) for one in own]))
    return done


def verdict(task: str, pair: Pair, one: Difference) -> str:
    """Return what a difference says: `B is better on MNLI-m: +1.2 points, 95 % +0.4 to +2.0, p 0.003`."""
    low, high = one.interval
    numbers = f"{one.difference:+.2f} points, 95 % {low:+.2f} to {high:+.2f}, p {p_text(one.p_holm)}"
    if one.p_holm >= LEVEL:
        return f"no difference can be told on {score_title(task, one.score)}: {pair.second} - {pair.first} {numbers}"
    better = pair.second if one.difference > 0 else pair.first
    return f"{better} is better on {score_title(task, one.score)}: {pair.second} - {pair.first} {numbers}"


def p_text(p: float) -> str:
    """Return a p value with the digits that it has: `0.003`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
