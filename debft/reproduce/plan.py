"""What it takes to reproduce a table: its cells, the recipe of each, and one run per recipe and seed."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from debft.config.packaged import recipe_path
from debft.config.reading import from_dict, load_recipe
from debft.config.recipe import Recipe, with_train
from debft.console import meter, say
from debft.errors import DebftError, HubError, InputError, did_you_mean
from debft.published.load import Column, Row, Table, load_published, recipe_of_cell
from debft.reproduce.keys import identity_of, made_by, made_here, made_key, run_key
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runtime.devices import check_precision
from debft.tasks import Task
from debft.training.plan import Plan, check_writable, make_plan
from debft.training.schedule import check_schedule

SEEDS = 5
READ = ("result.json", "steps.jsonl", "evaluations.jsonl")  # of a run, to know whether it can be counted
_damages: dict[tuple, str | None] = {}  # by directory, and when its files were changed and how large they are


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

    def runtime(self) -> dict[str, Any]:
        """What was asked of the runtime, by key of the recipe."""
        return {key: value for key, value in self.overrides().items() if key.startswith("runtime.")}

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
    """One training run.

    id: `<task>-<recipe>/seed-<seed>-<key>-<made>`, a directory below the output
    key: 8 hex digits of everything that was asked for and moves the score, see `run_key`
    made: 8 hex digits of what makes the run, see `made_key`; so that a run of other code is neither counted nor resumed
    after: the run that this one starts from, where the recipe says so
    command: what made it, or makes it go on
    """

    id: str
    recipe_name: str
    recipe: Recipe
    seed: int
    key: str
    directory: Path
    arguments: tuple[str, ...]
    total_steps: int
    fingerprints: dict[str, str]
    after: "Run | None" = None

    @property
    def command(self) -> str:
        return shlex.join(["debft", *self.arguments, "--resume"])

    def result(self) -> RunResult | None:
        """None before it is complete. Raises InputError where what is there is damaged or of another run."""
        result = RunDirectory(self.directory).result()
        if result and (wrong := self._wrong(result)):
            raise InputError(f"{self.directory}: holds a run of {wrong}; remove it to run this one")
        return result

    def _wrong(self, result: RunResult) -> str | None:
        """What in the result is not what the key of this run stands for."""
        if (result.data.fingerprints, result.recipe["train"].get("seed")) != (self.fingerprints, self.seed):
            return "another seed or other rows"
        there = from_dict(result.recipe, str(self.directory / "result.json"))
        if identity_of(there) != identity_of(self.recipe):
            return "another recipe"
        if not made_here(result.environment):
            return f"other code or versions ({made_by(result.environment)})"
        return None

    def scores(self) -> dict[str, float] | None:
        """Of the result, and what training logged as `train/loss` and the like; None before the run is complete."""
        result = self.result()
        directory = RunDirectory(self.directory)
        directory.logged("evaluations.jsonl")
        return None if result is None else result.scores | directory.training_scores(result)

    def damage(self) -> str | None:
        """Why what is there can be neither counted nor continued; None where nothing is wrong. Unchanged files are read once."""
        now = (self.directory, tuple(_changed_at(self.directory / file) for file in READ))
        if now not in _damages:
            try:
                self.scores()
                _damages[now] = None
            except InputError as error:
                _damages[now] = error.problems[0]
        return _damages[now]

    def is_missing(self) -> bool:
        """Whether it can be run, or resumed: it is not complete, and not damaged."""
        return self.damage() is None and self.result() is None


@dataclass(frozen=True, kw_only=True)
class RecipePlan:
    """The runs of one recipe.

    plan: of its first seed
    problem: why there are no runs, in the words of the error; needs_hub: whether it is only that the hub is out of reach
    """

    name: str
    recipe: Recipe
    task: Task | None
    plan: Plan | None
    runs: tuple[Run, ...]
    problem: str | None = None
    needs_hub: bool = False


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
        """The runs that are to be run or resumed. A damaged one is not: it is neither counted nor trained over."""
        missing = []
        with meter("read", len(self.runs), "runs") as progress:
            for run in self.runs:
                missing += [run] if run.is_missing() else []
                progress.advance(1, run.id)
        return missing

    def damaged(self) -> dict[str, str]:
        """What is wrong with each run whose files cannot be trusted, by its id."""
        return {run.id: damage for run in self.runs if (damage := run.damage())}


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
    recipes: dict[str, RecipePlan] = {}
    with meter("check", len(names), "recipes") as progress:
        for recipe in names:
            _plan_recipe(recipe, output, numbers, options, recipes)
            progress.advance(1, recipe)
    for problem in dict.fromkeys(found.problem for found in recipes.values() if found.problem):
        say(f"{', '.join(found.name for found in recipes.values() if found.problem == problem)} cannot run: {problem}")
    return TablePlan(table=table, rows=kept, columns=columns, recipes=recipes, seeds=numbers)


def _chosen(option: str, there: list[str], asked: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in there:
            raise InputError(f"{option} {name}: the table has no such {option.strip('-')}{did_you_mean(name, there)}")
    return [name for name in there if not asked or name in asked]


def _plan_recipe(name: str, output: Path, seeds: Sequence[int], options: Options, planned: dict[str, RecipePlan]) -> RecipePlan:
    """The runs of a recipe, added to `planned` behind those of the recipe that it starts from."""
    if name in planned:
        return planned[name]
    recipe = load_recipe(recipe_path(name), options.overrides(), options.origins())
    first = _plan_recipe(recipe.starts_from, output, seeds, options, planned) if recipe.starts_from else None
    found = RecipePlan(name=name, recipe=recipe, task=None, plan=None, runs=())
    try:
        plan = make_plan(with_train(recipe, seed=seeds[0]))
    except DebftError as error:
        planned[name] = replace(found, problem=error.problems[0], needs_hub=isinstance(error, HubError))
        return planned[name]
    if first and first.problem:
        problem = f"it starts from the run of {first.name}, which cannot run: {first.problem}"
        planned[name] = replace(found, problem=problem, needs_hub=first.needs_hub)
        return planned[name]
    before = first.runs if first else (None,) * len(seeds)
    runs = tuple(
        make_run(name, with_train(recipe, seed=seed), output, plan, options, after)
        for seed, after in zip(seeds, before, strict=True)
    )
    planned[name] = replace(found, task=plan.task, plan=plan, runs=runs)
    return planned[name]


def make_run(name: str, recipe: Recipe, output: Path, plan: Plan, options: Options, after: Run | None = None) -> Run:
    """The run of `recipe`, which is the packaged recipe `name` with `options` and its seed; after: the run it starts from."""
    total_steps, seed = check_schedule(recipe.train, plan.num_sequences), recipe.train.seed
    if after is not None:
        recipe = with_train(replace(recipe, init_from=str(after.directory)), from_scratch=False)  # as --init-from does
    key = run_key(recipe, plan.fingerprints, options.runtime())
    identity = f"{name.replace('/', '-')}/seed-{seed}-{key}-{made_key(plan.files.revision)}"
    directory = output / identity
    arguments = (
        plan.task.name,
        "--recipe",
        name,
        "--seed",
        str(seed),
        *options.arguments(),
        *(("--init-from", recipe.init_from) if recipe.init_from else ()),
        "--output",
        str(directory),
    )
    return Run(
        id=identity,
        recipe_name=name,
        recipe=recipe,
        seed=seed,
        key=key,
        directory=directory,
        arguments=arguments,
        total_steps=total_steps,
        fingerprints=plan.fingerprints,
        after=after,
    )


def _changed_at(path: Path) -> tuple[int, int] | None:
    """(time in ns, bytes), None where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
