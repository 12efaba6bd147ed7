"""This module is `--seeds N`: the same recipe with N seeds, and how much its scores vary."""

from pathlib import Path

from debft.config.recipe import Recipe, with_train
from debft.several.repeat import Repetition, check_place, common_recipe, exit_code, planned, repeat, show, summarize
from debft.several.summary import T_RULE, Summary
from debft.training.describe import describe
from debft.training.plan import make_plan


def plan_seeds(recipe: Recipe, directory: Path, count: int) -> Repetition:
    """Check everything before the first run, and plan the runs of the recipe's seed and the `count` - 1 numbers behind it.

    Raises InputError for bad input, and where another recipe's runs are in the directory.
    """
    recipes = {seed: with_train(recipe, seed=seed) for seed in range(recipe.train.seed, recipe.train.seed + count)}
    places = {seed: f"seed-{seed}" for seed in recipes}
    check_place(
        "--seeds", directory, "seed", recipe, {directory / places[seed]: own_recipe for seed, own_recipe in recipes.items()}
    )
    plan = make_plan(recipe)
    describe(plan)
    path = common_recipe(directory, "seed")
    runs = {
        seed: planned(
            own_recipe,
            directory / f"seed-{seed}",
            steps=plan.total_steps,
            fingerprints=plan.fingerprints,
            options=("--recipe", str(path), "--seed", str(seed)),
        )
        for seed, own_recipe in recipes.items()
    }
    return Repetition(over="seed", first=plan, recipe=recipe, directory=directory, runs=runs)


def run_seeds(repetition: Repetition, jobs: int | None) -> tuple[Summary, int]:
    """Run what is missing, write summary.json and show it. Return (the summary, the exit code)."""
    failures, signal_number = repeat(repetition, jobs)
    summary = summarize(repetition, failures, T_RULE)
    summary.write(repetition.directory)
    show(summary, repetition.directory)
    return summary, exit_code(failures, signal_number)
