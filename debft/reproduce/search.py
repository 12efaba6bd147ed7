"""This module is `debft reproduce --search`: it tries points of a paper's grid for recipes that nobody published."""

import itertools
import json
import random
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from debft.config import yaml12
from debft.config.dialects import of_dialect
from debft.config.differences import differing_keys
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import value_at
from debft.console import say
from debft.errors import InputError
from debft.reproduce.jobs import Executor, signal_that_ended
from debft.reproduce.options import RunOptions
from debft.reproduce.plan import RecipePlan, TablePlan
from debft.reproduce.planned_run import PlannedRun, make_run
from debft.runs.storage import write_atomically
from debft.tasks import QuestionAnswering

SHORT = {"train.num_train_epochs": 1.0, "train.warmup_steps": 0.1}  # what every trial changes
GRIDS = Path(__file__).with_name("grids.yaml")
SEED = 1  # of every trial, and of the choice of points

Point = dict[str, Any]  # values by key of `train`


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid holds the values that a paper tried."""

    source: str
    """The paper."""
    values: Mapping[str, Sequence[Any]]
    """The values of each key of `train`."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial is a short run at one point of a grid."""

    run: PlannedRun
    """The run."""
    point: Point
    """What the grid sets; a warm-up in steps stands as in the paper, the run has the same part of its own steps."""


def trial_options(options: RunOptions) -> RunOptions:
    """Return the options of a trial: one epoch of the first 20,000 rows, unless --max-train-samples says another number.

    Raises InputError for a key that the search chooses.
    """
    chosen = {*SHORT, *(f"train.{key}" for grid in _grids() for key in grid if key not in ("models", "source"))}
    if key := next((key for key in options.changed if key in chosen), None):
        raise InputError(f"--set {key}: --search chooses it itself; leave it out")
    return replace(options, max_train_samples=options.max_train_samples or 20_000, changed={**SHORT, **options.changed})


def _grids() -> list[dict[str, Any]]:
    return yaml12.load(GRIDS)["grids"]


def search(
    table_plan: TablePlan, output: Path, options: RunOptions, *, executor: Executor, trials: int
) -> tuple[dict[str, Any], int]:
    """Try `trials` points of the grid for each chosen recipe of ours. Return (what was tried, the exit code).

    Writes `output/search/<task>-<recipe>.jsonl`, a line per trial, and beside it the best one as a recipe. The score is the
    task's own choice of a checkpoint, on dev, after one epoch of the first rows; a better score there is a hint, no result.
    """
    searches = [
        (recipe_plan, grid, [_trial(recipe_plan, point, output, options) for point in points(grid, trials)])
        for recipe_plan, grid in _with_grids(table_plan)
    ]
    all_trials = [trial for _, _, of_recipe in searches for trial in of_recipe]
    missing = [trial.run for trial in all_trials if trial.run.is_missing()]
    say(f"{len(missing)} trials to run, of {len(all_trials)}, with {options.max_train_samples:,} training rows each")
    failures, signal_number = executor.run_all(missing)
    signal_number = signal_that_ended(signal_number, missing)
    content = {
        recipe_plan.name: _record(recipe_plan, grid, of_recipe, output / "search", options, whole=not signal_number)
        for recipe_plan, grid, of_recipe in searches
    }
    if signal_number:
        return {"table": table_plan.table.name, "search": content}, 128 + signal_number
    codes = [*(failure.code for failure in failures.values()), *(2 for trial in all_trials if trial.run.damage())]
    return {"table": table_plan.table.name, "search": content}, next(iter(codes), 0)


def _with_grids(table_plan: TablePlan) -> list[tuple[RecipePlan, Grid]]:
    """Return the recipes of ours that can be tried, each with its grid; say why the others cannot.

    Raises InputError where there is none.
    """
    pairs = []
    for recipe_plan in table_plan.recipes.values():
        if not recipe_plan.runs or not (recipe_plan.recipe.source or "").startswith("ours"):
            continue
        if recipe_plan.recipe.starts_from:
            say(f"{recipe_plan.name}: --search does not try a recipe that starts from another one's run")
        elif grid := grid_of(recipe_plan):
            pairs.append((recipe_plan, grid))
        else:
            say(f"{recipe_plan.name}: no paper's grid is known for this model; see debft/reproduce/grids.yaml")
    if not pairs:
        raise InputError(
            f"{table_plan.table.name}: --search tries recipes of ours with a grid, and none was chosen; choose another --row"
        )
    return pairs


def grid_of(recipe_plan: RecipePlan) -> Grid | None:
    """Return the grid for the model of a recipe; None for one that no grid names."""
    grid = next((grid for grid in _grids() if recipe_plan.recipe.model in grid["models"]), None)
    if grid is None:
        return None
    unused = ("models", "source", *(["head_dropout"] if isinstance(recipe_plan.ready.task, QuestionAnswering) else []))
    return Grid(source=grid["source"], values={key: values for key, values in grid.items() if key not in unused})


def points(grid: Grid, count: int) -> list[Point]:
    """Return `count` different points of the grid, the same ones every time; all of them where there are no more."""
    every = [dict(zip(grid.values, values, strict=True)) for values in itertools.product(*grid.values.values())]
    return every if len(every) <= count else random.Random(SEED).sample(every, count)


def _trial(recipe_plan: RecipePlan, point: Point, output: Path, options: RunOptions) -> Trial:
    """Plan the run at a point. A warm-up in steps becomes the same part of the shorter run."""
    packaged = load_recipe(recipe_path(recipe_plan.name)).train
    plan = recipe_plan.ready
    num_rows = plan.task.train.num_rows or plan.num_sequences
    steps = num_rows * packaged.num_train_epochs / point["train_batch_size"]
    warmup = point["warmup_steps"] if point["warmup_steps"] < 1 else round(point["warmup_steps"] / steps, 6)
    changed = {**options.changed, **{f"train.{name}": value for name, value in point.items()}, "train.warmup_steps": warmup}
    options = replace(options, changed=changed)
    recipe = load_recipe(recipe_path(recipe_plan.name), options.overrides() | {"train.seed": SEED})
    return Trial(run=make_run(recipe_plan.name, recipe, output / "search", plan, options), point=point)


def _record(
    recipe_plan: RecipePlan, grid: Grid, trials: Sequence[Trial], directory: Path, options: RunOptions, *, whole: bool
) -> dict[str, Any]:
    """Write what was tried, the best last, and the best as a recipe where all trials are there (`whole`)."""
    lines = [_line(recipe_plan, trial) for trial in trials]
    left = [line for line in lines if line["score"] is None]
    done = sorted((line for line in lines if line["score"] is not None), key=lambda line: line["score"])
    path = directory / f"{recipe_plan.name.replace('/', '-')}.jsonl"
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in [*left, *done]).encode())
    if not done:
        return {"trials": lines, "best": None}
    best = done[-1]
    values = "  ".join(f"{key} {best[key]}" for key in grid.values)
    say(f"{recipe_plan.name}: best of {len(done)} trials {best['score']:.2f}: {values}")
    if whole:
        best_path = path.with_suffix(".yaml")
        write_atomically(best_path, _as_recipe(recipe_plan, best, grid, len(done), options).encode())
        say(f"{best_path}   next: debft {recipe_plan.recipe.task} --recipe {shlex.quote(str(best_path))}")
    return {"trials": lines, "best": best}


def _line(recipe_plan: RecipePlan, trial: Trial) -> dict[str, Any]:
    """Return the line of a trial: recipe, the values of its point, score in percent or None, run and command."""
    if damage := trial.run.damage():
        say(f"not counted: {damage}")
    result = None if damage else trial.run.result()
    task = recipe_plan.ready.task
    if result and (lacking := [name for name in task.selection_names() if name not in result.scores]):
        say(f"not counted: {trial.run.directory}: expected the score {lacking[0]}, found none; remove it to run it again")
        result = None
    score = task.selection_score(result.scores) if result else None
    return {"recipe": recipe_plan.name, **trial.point, "score": score, "run": trial.run.id, "command": trial.run.command}


def _as_recipe(recipe_plan: RecipePlan, best: Mapping[str, Any], grid: Grid, count: int, options: RunOptions) -> str:
    """Return the recipe with the best point in it, and where that comes from."""
    recipe = load_recipe(recipe_path(recipe_plan.name))
    own = differing_keys(recipe, of_dialect(recipe.dialect), "resume")
    values = {key: value_at(recipe, key) for key in own if "." in key}
    values |= {f"train.{name}": best[name] for name in grid.values}
    values |= {key: value for key, value in options.changed.items() if not key.startswith("runtime.") and key not in SHORT}
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    content = {
        "model": recipe.model,
        "task": recipe.task,
        "dialect": recipe.dialect,
        **sections,
        "source": f"ours: best of {count} points of the grid of the {grid.source}, by the dev score {best['score']:.2f} "
        f"after one epoch of {options.max_train_samples:,} rows, seed {SEED}",
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
