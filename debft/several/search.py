"""This module is `debft search TASK` from the checks to the report; the study itself is in study.py."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, to_dict
from debft.console import say
from debft.errors import InputError
from debft.output.layout import print_table
from debft.output.recipes import number, recipe_yaml
from debft.output.text import counted
from debft.reproduce.jobs import jobs_at_a_time
from debft.reproduce.run import worst_code
from debft.reproduce.terminal import at_a_time
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runs.storage import write_atomically
from debft.runtime.launch.group import in_a_group
from debft.several.repeat import probe_of_runs
from debft.several.space import Space, space_dict
from debft.several.study import JOURNAL, Search, State, alone_in, open_study, run_trials, scored_rows
from debft.several.study_page import write_page
from debft.several.study_record import (
    BEST,
    MOST_SHOWN,
    STUDY,
    StudyRecord,
    TrialRecord,
    TrialState,
    best_lines,
    optimism,
    source_of,
    trial_table,
    write_best,
    write_study,
)
from debft.tasks.task import LOSS
from debft.training.choice import in_words
from debft.training.describe import describe
from debft.training.place import check_same_run, check_writable
from debft.training.plan import Plan, make_plan

COMMON = "search.yaml"
FEWEST_FOR_IMPORTANCE = 4  # complete trials
STATES: dict[State, TrialState] = {
    State.COMPLETE: "complete",
    State.PRUNED: "stopped",
    State.FAIL: "failed",
    State.RUNNING: "running",
}


def plan_search(recipe: Recipe, directory: Path) -> Plan:
    """Check everything before the first trial. Raises InputError for bad input, and where something else is in the directory."""
    if in_a_group():
        raise InputError("debft search: starts processes of its own; start it without torchrun or accelerate")
    check_writable(directory)
    others = RunDirectory(directory).occupied() and not (directory / JOURNAL).is_file()
    if RunDirectory(directory).exists() or others:
        raise InputError(f"--output {directory}: expected an empty directory or a search, got other files; choose another")
    if (directory / COMMON).is_file():
        check_same_run(f"--output {directory}", load_recipe(directory / COMMON), recipe)
    plan = make_plan(recipe)
    if not plan.task.selection_evals:
        raise InputError(f"debft search: expected rows of {', '.join(plan.task.selection)} to choose by, got none")
    if (metric := recipe.train.metric) and metric.rpartition("/")[2] == LOSS:
        raise InputError(f"train.metric: expected a score that trials are compared by, got '{metric}'; give another one")
    describe(plan)
    return plan


def search(plan: Plan, space: Space, directory: Path, *, trials: int, jobs: int | None) -> tuple[dict[str, Any], int]:
    """Do what is missing of so many trials, and write what was found. Return (study.json, the exit code)."""
    with alone_in(directory):
        study = open_study(plan, space, directory)
        common = directory / COMMON
        write_atomically(common, (recipe_yaml(plan.recipe) + "\n").encode())
        running = Search(study=study, base=plan, space=space, directory=directory, common=common)
        at_once = jobs_at_a_time(jobs, plan.recipe.data)
        say(f"{counted(trials, 'trial')}, {running.asked()} there already, {at_a_time(at_once)}   {directory}")
        signal_number = run_trials(running, trials, at_once)
        if running.asked() >= trials and not running.interrupted_by:
            signal_number = 0  # it came while the last trial ended
        record = record_of(running)
        write_study(record, directory)
        _finish(record, running, directory)
    codes = [failure.code for failure in running.failures.values() if failure.code != 3 or record.best is None]
    codes += running.interrupted_by
    return record.as_dict(), 128 + signal_number if signal_number else worst_code(codes)


def show_plan(plan: Plan, space: Space, directory: Path, *, trials: int, jobs: int | None) -> dict[str, Any]:
    """Say what would be tried and what it would take, and train nothing. Return the same for scripts."""
    for key, dimension in space.items():
        values = ", ".join(map(number, dimension.choices)) or f"{number(dimension.low)} to {number(dimension.high)}"
        how = " by its logarithm" if dimension.log else f" in steps of {number(dimension.step)}" if dimension.step else ""
        say(f"{key}: {values}{how}")
    say("a trial with the recipe's own settings would take; others, as many more or fewer steps as they ask for:")
    estimate = probe_of_runs(plan, directory, trials, jobs)
    steps = f"about {plan.total_steps:,} optimizer steps"
    say(f"{counted(trials, 'trial')} of {steps} into {directory}; nothing was trained (--dry-run)")
    content = {"output": str(directory), "trials": trials, "space": space_dict(space), "recipe": to_dict(plan.recipe)}
    return content | {"steps": plan.total_steps, "fingerprints": plan.fingerprints, "estimate": estimate}


def record_of(running: Search) -> StudyRecord:
    """Return the record of the study as it stands."""
    plan, trials = running.base, [_trial(running, trial) for trial in running.study.get_trials(deepcopy=False)]
    complete = [trial for trial in trials if trial.state == "complete"]
    scores = {trial.number: trial.score for trial in complete if trial.score is not None}
    best = max(scores, key=scores.__getitem__, default=None)
    result = _result(running, best) if best is not None else None
    splits = [split.name for split in plan.task.selection_evals]
    return StudyRecord(
        task=plan.task.name,
        model=plan.recipe.model or "",
        objective=f"{in_words(plan.task, plan.recipe.train)} ({scored_rows(plan)})",
        space=space_dict(running.space),
        trials=trials,
        best=best,
        best_scores=result.scores if result else {},
        best_intervals=result.intervals if result else {},
        importance=_importance(running, complete),
        remark=optimism(len(complete), " and ".join(splits)),
        recipe=to_dict(plan.recipe),
    )


def _trial(running: Search, trial: optuna.trial.FrozenTrial) -> TrialRecord:
    place = running.place(trial.number)
    failure = running.failures.get(place.name)
    return TrialRecord(
        number=trial.number,
        state=STATES.get(trial.state, "running"),
        settings=running.values_of(trial.params) if set(trial.params) >= set(running.space) else {},
        score=trial.value if trial.state == State.COMPLETE else None,
        checks={str(check): score for check, score in trial.intermediate_values.items()},
        seconds=trial.duration.total_seconds() if trial.duration else None,
        directory=place.name,
        error=failure.error if failure else None,
    )


def _result(running: Search, number: int) -> RunResult | None:
    return RunDirectory(running.place(number)).result()


def _importance(running: Search, complete: list[TrialRecord]) -> dict[str, float]:
    """Return the importance of each key, {} where too few trials are complete or none differs in its score."""
    if len(complete) < FEWEST_FOR_IMPORTANCE or len({trial.score for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(running.study, evaluator=evaluator))


def _finish(record: StudyRecord, running: Search, directory: Path) -> None:
    """Write the best recipe and the page, and print what was found."""
    if record.trials:
        print_table(trial_table(record))
        say(f"score: {record.objective}")
    if len(record.trials) > MOST_SHOWN:
        say(f"the first {MOST_SHOWN} of {len(record.trials)} trials; {directory / STUDY} has all")
    for key, share in sorted(record.importance.items(), key=lambda item: -item[1]):
        say(f"importance  {key}  {share:.0%}")
    write_page(record, directory)
    best = record.best_trial()
    if best is None:
        say(f"{directory}   {STUDY}  report.html   no trial is complete")
        return
    run = RunDirectory(running.place(best.number))
    write_best(replace(run.recipe(), source=source_of(record), reproduces=None, note=None), directory)
    plan = running.base
    num_rows: Mapping[str, int] = {split.name: len(plan.examples[split.name]) for split in plan.task.evals}
    say(f"best: trial {best.number}")
    for line in best_lines(record, [split.name for split in plan.task.selection_evals], num_rows):
        say(line)
    say(record.remark)
    say(f"{directory}   {BEST}  {STUDY}  report.html   next: debft {plan.task.name} --recipe {directory / BEST}")
