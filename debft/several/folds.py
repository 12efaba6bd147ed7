"""This module is `--folds K`: own data without a dev split is cut into K folds, and each is scored by a run trained on the others.

The scores of the folds are no independent sample: any two runs share most of their training rows, and no estimate of their variance
is free of bias, so Student's interval over folds would be too narrow. Source: Y. Bengio and Y. Grandvalet, No Unbiased Estimator of
the Variance of K-Fold Cross-Validation, Journal of Machine Learning Research 5 (2004). What stands here instead is the score over
all rows, each predicted by the run that did not see it, with the bootstrap over these rows. It does not hold what other seeds or
other training rows would move.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from debft.config.recipe import Recipe, with_values
from debft.console import say
from debft.data.own_rows import rows_and_folds
from debft.errors import InputError
from debft.reproduce.notes import Failure
from debft.reproduce.planned_run import PlannedRun
from debft.runs.directory import RunDirectory
from debft.runs.storage import write_atomically
from debft.runtime.progress import activity, meter
from debft.several.repeat import Repetition, check_place, common_recipe, exit_code, planned, repeat, show, summarize
from debft.several.summary import Pooled, Summary
from debft.tasks import TextClassification
from debft.training.describe import describe
from debft.training.plan import make_plan

OUT_OF_FOLD = "out-of-fold.jsonl"
RULE = (
    "pooled: the score of all rows, each predicted by the run that was not trained on it, with the 95 % bootstrap interval over "
    "them. There is no t interval over folds: they share training rows, so it would be too narrow (Bengio and Grandvalet 2004)"
)


@dataclass(frozen=True, kw_only=True)
class FoldsPlan:
    """A plan of folds holds the runs, one for each fold, and which row is in which."""

    repetition: Repetition
    """The runs."""
    task: TextClassification
    """Their task."""
    ids: list[str]
    """The id of each row, in the order of the file."""
    fold_N: np.ndarray
    """The fold of each row, from 1."""


def plan_folds(recipe: Recipe, directory: Path) -> FoldsPlan:
    """Check everything before the first run, and plan the run of each fold. Raises InputError for bad input."""
    folds = recipe.own.folds
    assert folds is not None, "the recipe asks for folds"
    if recipe.train.max_eval_samples is not None:
        raise InputError("--folds: does not go with --max-eval-samples, every row is scored once; leave it out")
    recipes = {fold: with_values(recipe, {"own.fold": fold}) for fold in range(1, folds + 1)}
    check_place("--folds", directory, "fold", recipe, {directory / f"fold-{fold}": own for fold, own in recipes.items()})
    runs, path = {}, common_recipe(directory, "fold")
    with meter("check", folds, "folds") as progress:
        for fold, own_recipe in recipes.items():
            plan = make_plan(own_recipe)
            if fold == 1:
                first = plan
                describe(plan)
            runs[fold] = planned(
                own_recipe,
                directory / f"fold-{fold}",
                steps=plan.total_steps,
                fingerprints=plan.fingerprints,
                options=("--recipe", str(path), "--set", f"own.fold={fold}"),
            )
            progress.advance(1, f"fold {fold}")
    whole, fold_N = rows_and_folds(recipe, folds)
    task = first.task
    assert isinstance(task, TextClassification), "rows of one's own have labels or scores"
    _say_small_labels(task, whole.label_array, folds)
    if recipe.train.checkpoint == "best":
        say("the best step of each run is chosen by the fold that it is scored on: scores of folds are a little too good")
    repetition = Repetition(over="fold", first=first, recipe=recipe, directory=directory, runs=runs)
    return FoldsPlan(repetition=repetition, task=task, ids=list(whole.ids), fold_N=fold_N)


def _say_small_labels(task: TextClassification, labels: np.ndarray, folds: int) -> None:
    """Name the labels with fewer rows than folds: some folds have none to score."""
    if task.is_regression:
        return
    counts = labels.sum(axis=0).astype(int) if task.multilabel else np.bincount(labels, minlength=len(task.labels))
    if small := [f"{name} {count}" for name, count in zip(task.labels, counts.tolist(), strict=True) if count < folds]:
        say(f"labels with fewer rows than folds, which some folds lack: {', '.join(small)}")


def run_folds(plan: FoldsPlan, jobs: int | None) -> tuple[Summary, int]:
    """Run what is missing, write summary.json and the predictions of all rows, and show it. Return (the summary, the exit code)."""
    repetition = plan.repetition
    failures, signal_number = repeat(repetition, jobs)
    rows = _out_of_fold(plan, failures)
    summary = replace(summarize(repetition, failures, RULE), pooled=_pooled(plan.task, rows) if rows else None)
    summary.write(repetition.directory)
    path = repetition.directory / OUT_OF_FOLD
    if rows:
        lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        write_atomically(path, lines.encode("utf-8", "surrogatepass"))
    else:
        path.unlink(missing_ok=True)  # it would be of other runs than the summary beside it
    show(summary, repetition.directory)
    say(f"{path}   every row once" if rows else f"{path}: not written, it takes every fold")
    return summary, exit_code(failures, signal_number)


def _pooled(task: TextClassification, rows: list[dict[str, Any]]) -> Pooled:
    """Score the predictions of all rows. Only now torch is imported, which takes seconds."""
    with activity("loading torch"):
        from debft.several.pooled import pooled_scores

    return pooled_scores(task, rows, OUT_OF_FOLD)


def _out_of_fold(plan: FoldsPlan, failures: dict[str, Failure]) -> list[dict[str, Any]]:
    """Return the prediction of every row in the order of the file, [] where a fold is not complete.

    A run whose predictions are not of its rows is added to the failures.
    """
    by_id: dict[str, dict[str, Any]] = {}
    for fold, run in plan.repetition.runs.items():
        if run.damage() or run.result() is None:
            return []
        try:
            by_id |= _predictions(plan, fold, run)
        except InputError as error:
            failures[run.id] = Failure(code=2, error=error.problems[0])
            say(error.problems[0])
            return []
    return [by_id[identity] for identity in plan.ids]


def _predictions(plan: FoldsPlan, fold: int, run: PlannedRun) -> Mapping[str, dict[str, Any]]:
    """Return the predictions of a run by the id of the row. Raises InputError where they are not those of the fold."""
    split, directory = plan.repetition.task.evals[0].name, RunDirectory(run.directory)
    expected = [identity for identity, its_fold in zip(plan.ids, plan.fold_N.tolist(), strict=True) if its_fold == fold]
    rows = directory.predictions(split, plan.repetition.task)
    if [row["id"] for row in rows] != expected:
        raise InputError(
            f"{directory.path}/predictions/{split}.jsonl: expected the predictions of the {len(expected):,} rows of fold {fold}, "
            f"got something else; remove {run.directory} to run it again"
        )
    return {row["id"]: {"id": row["id"], "fold": fold} | row for row in rows}
