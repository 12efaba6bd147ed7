"""What it takes to reproduce a table: its cells, the recipe of each, and one run per recipe and seed."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from debft import __version__
from debft.checks import check_schedule
from debft.data import source_kind
from debft.devices import check_precision
from debft.errors import DebftError, InputError, did_you_mean
from debft.plan import Plan, check_writable, make_plan
from debft.progress import meter, say
from debft.published import Column, Row, Table, load_published, recipe_of_cell
from debft.recipe import Recipe, load_recipe, recipe_hash, recipe_path, with_train
from debft.results import RunDirectory, RunResult
from debft.tasks import Task

SEEDS = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user may ask of every run. data: None leaves the recipe's; the limits make a subset, which is labelled; changed:
    further keys of the recipe, `{"train.num_train_epochs": 1.0}`
    """

    data: str | None = None
    precision: str | None = None
    max_steps: int | None = None
    max_train_samples: int | None = None
    max_eval_samples: int | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises InputError for a key that is given twice, or the seed, which `--seeds` chooses."""
        if "train.seed" in self.changed:
            raise InputError("--set train.seed: expected another key, every run has a seed of its own; give --seeds")
        if twice := next((key for key in self.changed if key in self._origins()), None):
            raise InputError(f"--set {twice}: is given as {self._origins()[twice]} as well; give it once")

    def arguments(self) -> list[str]:
        """The same for the command line of one run."""
        given = [word for name, value in self._given().items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return [*given, *(word for key, value in self.changed.items() for word in ("--set", f"{key}={value}"))]

    def overrides(self) -> dict[str, Any]:
        return {_key(name): value for name, value in self._given().items()} | self.changed

    def origins(self) -> dict[str, str]:
        """What the user typed, by key of the recipe."""
        return self._origins() | {key: f"--set {key}" for key in self.changed}

    def _origins(self) -> dict[str, str]:
        return {_key(name): f"--{name.replace('_', '-')}" for name in self._given()}

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "changed" and value is not None}


def _key(name: str) -> str:
    """Of the recipe, for one of the `Options`."""
    return {"data": "data", "precision": "runtime.precision"}.get(name, f"train.{name}")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run. id: `<task>-<recipe>/seed-<seed>-<key>`, a directory below the output; key: of everything that moves the
    score, what else was asked for, the rows of the data and the version of debft, so that what is done is never done again and
    never mistaken. command: what made it, or makes it go on.
    """

    id: str
    recipe_name: str
    recipe: Recipe
    seed: int
    directory: Path
    arguments: tuple[str, ...]
    total_steps: int
    fingerprints: dict[str, str]

    @property
    def command(self) -> str:
        return shlex.join(["debft", *self.arguments, "--resume"])

    def result(self) -> RunResult | None:
        """None before it is complete. Raises InputError where what is there is damaged or of another run."""
        result = RunDirectory(self.directory).result()
        if result and (result.data["fingerprints"], result.recipe["train"]["seed"]) != (self.fingerprints, self.seed):
            raise InputError(f"{self.directory}: holds a run of another seed or other rows; remove it to run this one")
        return result

    def scores(self) -> dict[str, float] | None:
        """Of the result, and what training logged as `train/loss` and the like; None before the run is complete."""
        result = self.result()
        directory = RunDirectory(self.directory)
        directory.logged("evaluations.jsonl")
        return None if result is None else result.scores | directory.training_scores(result)


@dataclass(frozen=True, kw_only=True)
class RecipePlan:
    """The runs of one recipe. plan: of its first seed; problem: why there are none, in the words of the error."""

    name: str
    recipe: Recipe
    task: Task | None
    plan: Plan | None
    runs: tuple[Run, ...]
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """rows, columns: those that were asked for; recipes: by name, in the order of the table."""

    table: Table
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    recipes: dict[str, RecipePlan]
    seeds: tuple[int, ...]

    @property
    def runs(self) -> list[Run]:
        return [run for found in self.recipes.values() for run in found.runs]

    def missing(self) -> list[Run]:
        """Raises InputError naming every run whose files are damaged, rather than take their numbers or train over them."""
        missing, problems = [], []
        for run in self.runs:
            try:
                if run.scores() is None:
                    missing.append(run)
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(*problems)
        return missing


def make_table_plan(
    name: str,
    output: Path,
    *,
    rows: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    options: Options,
) -> TablePlan:
    """Check everything that can be wrong before the first run; a recipe that cannot run is kept with its problem.

    seeds: None: 1, 2, 3 and so on, as many as the table says, else 5
    Raises InputError for a table, row or task that is not there, or where no cell is left.
    """
    table = load_published(name)
    check_writable(output)
    options.check()
    if options.precision is not None:
        check_precision(options.precision)
    chosen_rows = _chosen("--row", [row.name for row in table.rows], rows)
    chosen_tasks = _chosen("--task", list(dict.fromkeys(column.task for column in table.columns)), tasks)
    kept = tuple(row for row in table.rows if row.name in chosen_rows)
    columns = tuple(column for column in table.columns if column.task in chosen_tasks)
    numbers = tuple(seeds or range(1, (table.seeds or SEEDS) + 1))
    options = replace(options, data=options.data or table.data)
    names = dict.fromkeys(
        recipe for row in kept for column in columns if (recipe := recipe_of_cell(table, row, column)) is not None
    )
    if not names:
        raise InputError(f"{name}: no cell of {', '.join(chosen_rows)} has a number and a recipe; choose another --row or --task")
    with meter("check", len(names), "recipes") as progress:
        recipes = {}
        for recipe in names:
            recipes[recipe] = _plan_recipe(recipe, output, numbers, options)
            progress.advance(1, recipe)
    for problem in dict.fromkeys(found.problem for found in recipes.values() if found.problem):
        say(f"{', '.join(found.name for found in recipes.values() if found.problem == problem)} cannot run: {problem}")
    return TablePlan(table=table, rows=kept, columns=columns, recipes=recipes, seeds=numbers)


def _chosen(option: str, there: list[str], asked: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in there:
            raise InputError(f"{option} {name}: the table has no such {option.strip('-')}{did_you_mean(name, there)}")
    return [name for name in there if not asked or name in asked]


def _plan_recipe(name: str, output: Path, seeds: Sequence[int], options: Options) -> RecipePlan:
    recipe = load_recipe(recipe_path(name), options.overrides(), options.origins())
    try:
        plan = make_plan(with_train(recipe, seed=seeds[0]))
    except DebftError as error:
        return RecipePlan(name=name, recipe=recipe, task=None, plan=None, runs=(), problem=error.problems[0])
    runs = tuple(make_run(name, with_train(recipe, seed=seed), output, plan, options) for seed in seeds)
    return RecipePlan(name=name, recipe=recipe, task=plan.task, plan=plan, runs=runs)


def make_run(name: str, recipe: Recipe, output: Path, plan: Plan, options: Options) -> Run:
    """The run of `recipe`, which is the packaged recipe `name` with `options` and its seed."""
    total_steps = check_schedule(recipe.train, plan.num_sequences)
    identity = f"{name.replace('/', '-')}/seed-{recipe.train.seed}-{run_key(recipe, plan.fingerprints, options)}"
    directory = output / identity
    arguments = (
        plan.task.name, "--recipe", name, "--seed", str(recipe.train.seed), *options.arguments(), "--output", str(directory),
    )  # fmt: skip
    return Run(
        id=identity, recipe_name=name, recipe=recipe, seed=recipe.train.seed, directory=directory, arguments=arguments,
        total_steps=total_steps, fingerprints=plan.fingerprints,
    )  # fmt: skip


def run_key(recipe: Recipe, fingerprints: Mapping[str, str], options: Options) -> str:
    """8 hex digits of the recipe with its seed, the rows by split, debft's version, and what of the runtime was asked for."""
    source = recipe if source_kind(recipe.data) != "directory" else replace(recipe, data="directory")  # the rows tell, not the path
    runtime = {key: value for key, value in options.overrides().items() if key.startswith("runtime.")}
    content = json.dumps([recipe_hash(source), dict(fingerprints), __version__, *([runtime] if runtime else [])], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]
