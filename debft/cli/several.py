"""What repeats a run: the same recipe over several seeds, or over the folds of own data."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from debft.cli.stdout import print_json
from debft.config.recipe import Recipe
from debft.errors import HubError, InputError
from debft.runtime.launch.machines import Asked

if TYPE_CHECKING:
    from debft.several.summary import Summary
    from debft.training.place import Start


def repeats(recipe: Recipe, seeds: int | None, jobs: int | None, asked: Asked, start: "Start") -> bool:
    """Whether the options ask for several runs. Raises InputError for options that do not go together."""
    folds = recipe.own.folds is not None and recipe.own.fold is None
    if seeds is not None and folds:
        raise InputError("--seeds: does not go with --folds; leave one of them out")
    if not folds and seeds is None:
        if jobs is not None:
            raise InputError("--jobs: needs --seeds or --folds, of which none is given; add one, or leave --jobs out")
        return False
    option = "--folds" if folds else "--seeds"
    if start in ("restart", "overwrite"):
        raise InputError(f"--{start}: does not go with {option}; remove the directories of the runs to run them anew")
    several = list(asked.typed()) if (asked.machines or 1) > 1 else []
    if not several and asked.processes not in (None, 1):
        several = ["--num-processes"]
    if several:
        raise InputError(f"{several[0]}: does not go with {option}, whose runs have a process each; leave one of them out")
    return True


def usual_output(recipe: Recipe, single: Path, seeds: int | None) -> Path:
    """Return the directory of several runs where none is given. single: that of a single run, which is one of the seeds."""
    return single.parent if seeds is not None else single.with_name(f"{single.name}-folds-{recipe.own.folds}")


def repeat(recipe: Recipe, directory: Path, *, seeds: int | None, jobs: int | None, dry_run: bool, as_json: bool) -> NoReturn:
    """Run `recipe` over seeds or folds below `directory`, or show what would be run, and end the command."""
    from debft.several.folds import plan_folds, run_folds
    from debft.several.repeat import show_plan
    from debft.several.seeds import plan_seeds, run_seeds

    run: Callable[[int | None], tuple[Summary, int]]
    try:
        if seeds is None:
            folds = plan_folds(recipe, directory)
            repetition, run = folds.repetition, partial(run_folds, folds)
        else:
            repetition = plan_seeds(recipe, directory, seeds)
            run = partial(run_seeds, repetition)
    except HubError as error:
        if not dry_run:
            raise
        show_estimate(recipe, seeds, error, as_json)
        sys.exit(0)
    if dry_run:
        content, code = show_plan(repetition, jobs)
    else:
        summary, code = run(jobs)
        content = summary.as_dict()
    if as_json:
        print_json(content)
    sys.exit(code)  # typer.Exit would print a second line for an interrupted run


def show_estimate(recipe: Recipe, seeds: int | None, missing: HubError, as_json: bool) -> None:
    """Estimate what runs would take whose data or weights are on the hub alone, which is out of reach.

    Raises `missing` itself where no packaged size tells what they take.
    """
    from debft.reproduce.run import estimate_runs

    content = estimate_runs(recipe, range(recipe.train.seed, recipe.train.seed + (seeds or 1)), missing)
    if as_json:
        print_json(content)
