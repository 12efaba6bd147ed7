"""This module plans a table: its cells, the recipe of each, and one run per recipe and seed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, with_train
from debft.console import say
from debft.errors import DebftError, HubError, InputError, did_you_mean
from debft.output.text import plural
from debft.published.load import Column, Row, Table, load_published, recipe_of_cell
from debft.reproduce.options import RunOptions
from debft.reproduce.planned_run import PlannedRun, make_run
from debft.runtime.devices import check_precision
from debft.runtime.progress import meter
from debft.training.place import check_writable
from debft.training.plan import Plan, make_plan

SEEDS = 5  # of each recipe, where neither the table nor the user says another number


@dataclass(frozen=True, kw_only=True)
class RecipePlan:
    """A recipe plan holds the runs of one recipe, or says why there are none."""

    name: str
    """The packaged recipe, by name."""
    recipe: Recipe
    """That recipe with the options of the user."""
    plan: Plan | None
    """The plan of the run with the first seed; None where it cannot run."""
    runs: tuple[PlannedRun, ...]
    """One run per seed."""
    problem: str | None = None
    """Why it cannot run, in the words of the error."""
    needs_hub: bool = False
    """Whether it cannot run only because the hub is out of reach."""

    @property
    def ready(self) -> Plan:
        """The plan of a recipe that can run."""
        assert self.plan is not None, self.problem
        return self.plan


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """A table plan holds a table with the runs that reproduce it."""

    table: Table
    """The table."""
    rows: tuple[Row, ...]
    """The rows that were asked for."""
    columns: tuple[Column, ...]
    """The columns that were asked for."""
    recipes: dict[str, RecipePlan]
    """The recipes of their cells by name, each behind the one that it starts from."""
    seeds: tuple[int, ...]
    """The seeds of each recipe."""

    @property
    def runs(self) -> list[PlannedRun]:
        """All runs, in the order of the recipes."""
        return [run for recipe_plan in self.recipes.values() for run in recipe_plan.runs]

    def missing(self) -> list[PlannedRun]:
        """Return the runs that are to be run or resumed. A damaged one is not: it is neither counted nor trained over."""
        missing = []
        with meter("read", len(self.runs), "runs") as progress:
            for run in self.runs:
                missing += [run] if run.is_missing() else []
                progress.advance(1, run.id)
        return missing

    def damaged(self) -> dict[str, str]:
        """Return what is wrong with each run whose files cannot be trusted, by its id."""
        return {run.id: damage for run in self.runs if (damage := run.damage())}


def make_table_plan(
    name: str,
    output: Path,
    *,
    rows: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    options: RunOptions,
    runs_here: bool = True,
) -> TablePlan:
    """Check everything that can be wrong before the first run; a recipe that cannot run is kept with its problem.

    seeds: those of each recipe; None: 1, 2, 3 and so on, as many as the table says, else 5
    runs_here: whether the runs will be made by this machine, so that it has to know the precision
    Raises InputError for a table, row or task that is not there, or where no cell is left.
    """
    table = load_published(name)
    check_writable(output)
    options.check()
    if options.precision is not None and runs_here:
        check_precision(options.precision)
    row_names = _chosen("--row", [row.name for row in table.rows], rows)
    task_names = _chosen("--task", list(dict.fromkeys(column.task for column in table.columns)), tasks)
    chosen_rows = tuple(row for row in table.rows if row.name in row_names)
    columns = tuple(column for column in table.columns if column.task in task_names)
    of_cells = (recipe_of_cell(table, row, column) for row in chosen_rows for column in columns)
    recipe_names = dict.fromkeys(recipe for recipe in of_cells if recipe)
    if not recipe_names:
        raise InputError(f"{name}: no cell of {', '.join(row_names)} has a number and a recipe; choose another --row or --task")
    seeds = tuple(seeds or range(1, (table.seeds or SEEDS) + 1))
    recipes = _plan_recipes(list(recipe_names), output, seeds, replace(options, data=options.data or table.data))
    return TablePlan(table=table, rows=chosen_rows, columns=columns, recipes=recipes, seeds=seeds)


def _chosen(option: str, names: list[str], asked: Sequence[str]) -> list[str]:
    """Return the names that were asked for, all where none was."""
    for name in asked:
        if name not in names:
            raise InputError(f"{option} {name}: the table has no such {option.strip('-')}{did_you_mean(name, names)}")
    return [name for name in names if not asked or name in asked]


def _plan_recipes(names: Sequence[str], output: Path, seeds: Sequence[int], options: RunOptions) -> dict[str, RecipePlan]:
    """Plan each recipe and those they start from; say which ones cannot run, and why."""
    recipes: dict[str, RecipePlan] = {}
    with meter("check", len(names), "recipes") as progress:
        for name in names:
            _plan_recipe(name, output, seeds, options, recipes)
            progress.advance(1, name)
    by_problem: dict[str, list[str]] = {}
    for recipe_plan in recipes.values():
        if recipe_plan.problem:
            by_problem.setdefault(recipe_plan.problem, []).append(recipe_plan.name)
    for problem, names_with_it in by_problem.items():
        say(f"{_in_short(names_with_it)} cannot run: {problem}")
    return recipes


def _in_short(names: Sequence[str]) -> str:
    """Name recipes: up to three, else how many of which task."""
    if len(names) <= 3:
        return ", ".join(names)
    tasks = Counter(name.partition("/")[0] for name in names)
    return " and ".join(f"{count} {plural('recipe', count)} of {task}" for task, count in tasks.items())


def _plan_recipe(name: str, output: Path, seeds: Sequence[int], options: RunOptions, planned: dict[str, RecipePlan]) -> RecipePlan:
    """Return the plan of a recipe, added to `planned` behind that of the recipe it starts from."""
    if name in planned:
        return planned[name]
    recipe = load_recipe(recipe_path(name), options.overrides(), options.origins())
    first = _plan_recipe(recipe.starts_from, output, seeds, options, planned) if recipe.starts_from else None
    planned[name] = _plan_runs(name, recipe, first, output, seeds, options)
    return planned[name]


def _plan_runs(
    name: str, recipe: Recipe, first: RecipePlan | None, output: Path, seeds: Sequence[int], options: RunOptions
) -> RecipePlan:
    """Plan the runs of a recipe, each of which starts from the run of `first` with the same seed."""
    empty = RecipePlan(name=name, recipe=recipe, plan=None, runs=())
    try:
        plan = make_plan(with_train(recipe, seed=seeds[0]))
    except DebftError as error:
        return replace(empty, problem=error.problems[0], needs_hub=isinstance(error, HubError))
    if first and first.problem:
        problem = f"it starts from the run of {first.name}, which cannot run: {first.problem}"
        return replace(empty, problem=problem, needs_hub=first.needs_hub)
    first_runs = first.runs if first else (None,) * len(seeds)
    runs = tuple(
        make_run(name, with_train(recipe, seed=seed), output, plan, options, first_run)
        for seed, first_run in zip(seeds, first_runs, strict=True)
    )
    return replace(empty, plan=plan, runs=runs)
