"""`debft reproduce --search`: points of a paper's grid for recipes that nobody published, on a small budget, each one recorded."""

import itertools
import json
import random
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from debft.config import yaml12
from debft.config.differences import differing_keys
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import of_dialect, value_at
from debft.console import say
from debft.errors import InputError
from debft.reproduce.jobs import default_jobs, devices_here, run_all
from debft.reproduce.plan import Options, RecipePlan, Run, TablePlan, make_run
from debft.runs.storage import write_atomically
from debft.tasks import QuestionAnswering

SHORT = {"train.num_train_epochs": 1.0, "train.warmup_steps": 0.1}
GRIDS = Path(__file__).with_name("grids.yaml")
SEED = 1


def trial_options(options: Options) -> Options:
    """One epoch of the first 20,000 rows, unless --max-train-samples says another number.

    Raises InputError for a key that the search chooses.
    """
    grids = yaml12.load(GRIDS)["grids"]
    chosen = {*SHORT, *(f"train.{key}" for grid in grids for key in grid if key not in ("models", "source"))}
    if key := next((key for key in options.changed if key in chosen), None):
        raise InputError(f"--set {key}: --search chooses it itself; leave it out")
    return replace(options, max_train_samples=options.max_train_samples or 20_000, changed={**SHORT, **options.changed})


def search(plan: TablePlan, output: Path, options: Options, *, jobs: int | None, trials: int) -> tuple[dict[str, Any], int]:
    """Try `trials` points of the grid for each chosen recipe of ours: (what was tried, the exit code).

    Writes `output/search/<task>-<recipe>.jsonl`, a line per trial, and beside it the best one as a recipe. The score is the
    task's own choice of a checkpoint, on dev, after one epoch of the first rows; a better score there is a hint, no result.
    """
    chosen = [found for found in plan.recipes.values() if found.runs and (found.recipe.source or "").startswith("ours")]
    chained = [found.name for found in chosen if found.recipe.starts_from]
    for name in chained:
        say(f"{name}: --search does not try a recipe that starts from another one's run")
    chosen = [found for found in chosen if found.name not in chained]
    grids = {found.name: grid_of(found) for found in chosen}
    without = [name for name, grid in grids.items() if grid is None]
    for name in without:
        say(f"{name}: no paper's grid is known for this model; see debft/reproduce/grids.yaml")
    chosen = [found for found in chosen if grids[found.name]]
    if not chosen:
        raise InputError(
            f"{plan.table.name}: --search tries recipes of ours with a grid, and none was chosen; choose another --row"
        )
    runs = {found.name: [_trial(found, point, output, options) for point in points(grids[found.name], trials)] for found in chosen}
    missing = [run for of_recipe in runs.values() for run, _ in of_recipe if run.is_missing()]
    say(f"{len(missing)} trials to run, of {sum(map(len, runs.values()))}, with {options.max_train_samples:,} training rows each")
    failures, signal_number = run_all(missing, jobs or default_jobs(plan.table), devices_here(), output / "logs")
    content = {
        found.name: _record(found, runs[found.name], grids[found.name], output / "search", options, whole=not signal_number)
        for found in chosen
    }
    damaged = [2 for of_recipe in runs.values() for run, _ in of_recipe if run.damage()]
    failed = 0 if signal_number else next(iter([*(failure.code for failure in failures.values()), *damaged]), 0)
    return {"table": plan.table.name, "search": content}, 128 + signal_number if signal_number else failed


def grid_of(found: RecipePlan) -> dict[str, Any] | None:
    """source, and values by key of `train`; None for a model that no grid names."""
    grid = next((grid for grid in yaml12.load(GRIDS)["grids"] if found.recipe.model in grid["models"]), None)
    unused = ("models", "head_dropout") if isinstance(found.task, QuestionAnswering) else ("models",)
    return {key: value for key, value in grid.items() if key not in unused} if grid else None


def points(grid: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """`count` different points of the grid, the same ones every time; all of them where there are no more."""
    names = [key for key in grid if key != "source"]
    every = [dict(zip(names, values, strict=True)) for values in itertools.product(*(grid[name] for name in names))]
    return every if len(every) <= count else random.Random(SEED).sample(every, count)


def _trial(found: RecipePlan, point: dict[str, Any], output: Path, options: Options) -> tuple[Run, dict[str, Any]]:
    """A warm-up in steps becomes the same part of the shorter run."""
    whole = load_recipe(recipe_path(found.name)).train
    steps = (found.task.train.num_rows or found.plan.num_sequences) * whole.num_train_epochs / point["train_batch_size"]
    warmup = point["warmup_steps"] if point["warmup_steps"] < 1 else round(point["warmup_steps"] / steps, 6)
    changed = {**options.changed, **{f"train.{name}": value for name, value in point.items()}, "train.warmup_steps": warmup}
    options = replace(options, changed=changed)
    recipe = load_recipe(recipe_path(found.name), options.overrides() | {"train.seed": SEED})
    return make_run(found.name, recipe, output / "search", found.plan, options), point


def _record(found, trials, grid, directory: Path, options: Options, *, whole: bool) -> dict[str, Any]:
    """Write what was tried, the best last, and the best as a recipe where all trials are there."""
    lines = []
    for run, point in trials:
        if damage := run.damage():
            say(f"not counted: {damage}")
        result = None if damage else run.result()
        score = found.task.selection_score(result.scores) if result else None
        lines.append({"recipe": found.name, **point, "score": score, "run": run.id, "command": run.command})
    done = sorted((line for line in lines if line["score"] is not None), key=lambda line: line["score"])
    path = directory / f"{found.name.replace('/', '-')}.jsonl"
    left = [line for line in lines if line["score"] is None]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in [*left, *done]).encode())
    if not done:
        return {"trials": lines, "best": None}
    best = done[-1]
    say(
        f"{found.name}: best of {len(done)} trials {best['score']:.2f}: "
        + "  ".join(f"{key} {best[key]}" for key in grid if key != "source")
    )
    if whole:
        best_path = path.with_suffix(".yaml")
        write_atomically(best_path, _as_recipe(found, best, grid, len(done), options).encode())
        say(f"{best_path}   next: debft {found.recipe.task} --recipe {shlex.quote(str(best_path))}")
    return {"trials": lines, "best": best}


def _as_recipe(found: RecipePlan, best: dict[str, Any], grid: Mapping[str, Any], count: int, options: Options) -> str:
    """The recipe with the best point in it, and where that comes from."""
    recipe = load_recipe(recipe_path(found.name))
    own = differing_keys(recipe, of_dialect(recipe.dialect), "resume")
    values = {key: value_at(recipe, key) for key in own if "." in key}
    values |= {f"train.{name}": best[name] for name in grid if name != "source"}
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
        "source": f"ours: best of {count} points of the grid of the {grid['source']}, by the dev score {best['score']:.2f} "
        f"after one epoch of {options.max_train_samples:,} rows, seed {SEED}",
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
