"""A trial is one run of a search: its settings, its directory, and what its evaluations say while it runs."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from debft.config.recipe import with_values
from debft.errors import InputError
from debft.output.recipes import number
from debft.reproduce.planned_run import PlannedRun
from debft.runs.directory import RunDirectory
from debft.several.repeat import planned
from debft.several.space import Value, as_read
from debft.tasks import QuestionAnswering
from debft.training.plan import Plan, make_plan
from debft.training.schedule import check_schedule

CHECKS = 5  # evaluations of a trial, at a fifth of its run, two fifths and so on: trials of other lengths are compared there
DIGITS = 3  # of a number that a range gave: 3.14e-5 tries what 3.14159e-5 does


def rounded(value: Value) -> Value:
    """Return a number of a range as a person would type it."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def plan_trial(base: Plan, common: Path, directory: Path, values: Mapping[str, Value]) -> PlannedRun:
    """Plan the run of a trial. Raises InputError where its settings cannot be run.

    base: the plan of the recipe that the search starts from; common: the file of that recipe; values: by dotted key
    """
    values = as_read(values)
    recipe = with_values(base.recipe, values)
    sequences = base.num_sequences if not isinstance(base.task, QuestionAnswering) else make_plan(recipe).num_sequences
    steps = check_schedule(recipe.train, sequences)
    values = {**values, "train.eval_steps": max(1, math.ceil(steps / CHECKS))}
    words = [word for key, value in values.items() for word in ("--set", f"{key}={number(value)}")]
    return planned(
        with_values(recipe, values),
        directory,
        steps=steps,
        fingerprints=base.fingerprints,
        options=("--recipe", str(common), *words),
    )


def score_of(scores: dict[str, float], base: Plan, directory: Path) -> float:
    """Return what the trials are compared by, in percent: what the best weights of a run are best by.

    directory: of the trial. Raises InputError where it has no such score.
    """
    try:
        return base.task.selection_score(scores, base.recipe.train.metric)
    except KeyError as error:
        raise InputError(f"{directory}: expected the score {error.args[0]}, found none; remove it to run it again") from None


def checks_of(run: PlannedRun, base: Plan) -> dict[int, float]:
    """Return the selection score of each evaluation so far, in percent, by the part of the run that was done, in `CHECKS`ths."""
    every, scores = run.recipe.train.eval_steps, {}
    for row in RunDirectory(run.directory).logs.rows("evaluations.jsonl"):
        step = int(row["step"])
        if step == run.total_steps or (every is not None and step % every == 0):
            scores[min(CHECKS, max(1, round(CHECKS * step / run.total_steps)))] = score_of(row["scores"], base, run.directory)
    return scores


def drop_checkpoints(run: PlannedRun) -> None:
    """Remove the checkpoints of a trial that was stopped; its recipe and its logs stay."""
    shutil.rmtree(RunDirectory(run.directory).checkpoints, ignore_errors=True)


def drop_model(directory: Path) -> None:
    """Remove the model of a trial that is not the best; its result, its logs and its predictions stay."""
    shutil.rmtree(RunDirectory(directory).model, ignore_errors=True)


def settings_text(values: Mapping[str, Value]) -> str:
    """Return `learning_rate 3e-5  train_batch_size 32`."""
    return "  ".join(f"{key.rpartition('.')[2]} {number(value)}" for key, value in values.items())
