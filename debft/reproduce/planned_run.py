"""This module knows one run of several: its id, where it lies, and whether what lies there can be counted."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from debft.config.reading import from_dict
from debft.config.recipe import Recipe, with_train
from debft.errors import InputError
from debft.reproduce.identity import identity_of, made_by, made_here, made_key, run_key
from debft.reproduce.options import RunOptions
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.training.plan import Plan
from debft.training.schedule import check_schedule

READ = ("recipe.yaml", "result.json", "steps.jsonl", "evaluations.jsonl")  # of a run, to know whether it can be counted
_damages: dict[tuple, str | None] = {}  # by directory, and when its files were changed and how large they are


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A planned run is one training run, done or still to be done."""

    id: str
    """A directory below the output. Of a table it is `<task>-<recipe>/seed-<seed>-<key>-<made>`, with `made` as in `made_key`."""
    recipe: Recipe
    """Its recipe, with the options of the user and the seed."""
    directory: Path
    """Where the run lies."""
    arguments: tuple[str, ...]
    """What follows `debft` on the command line that makes it."""
    total_steps: int
    """Optimizer steps of the whole run."""
    fingerprints: dict[str, str]
    """16 hex digits of the rows, by split."""
    starts_from: "PlannedRun | None" = None
    """The run whose weights this one starts from, where its recipe says so."""
    recipe_name: str = ""
    """The packaged recipe of a table's run, by name."""
    key: str = ""
    """8 hex digits of everything that was asked for and moves the score, see `run_key`; empty where the id does not hold it."""
    any_code: bool = False
    """Whether a result that other code or versions made counts as well."""

    @property
    def seed(self) -> int:
        """The seed of weights, order and dropout."""
        return self.recipe.train.seed

    @property
    def command(self) -> str:
        """The command that makes the run, or makes it go on."""
        return shlex.join(["debft", *self.arguments, "--resume"])

    def result(self) -> RunResult | None:
        """Return the result, None before the run is complete.

        Raises InputError where the directory holds a damaged run or another one.
        """
        result = RunDirectory(self.directory).result()
        if result and (wrong := self._wrong(result)):
            raise InputError(f"{self.directory}: holds a run of {wrong}; remove it to run this one")
        return result

    def _wrong(self, result: RunResult) -> str | None:
        """Name what in the result is not what the id of this run stands for."""
        if (result.data.fingerprints, result.recipe["train"].get("seed")) != (self.fingerprints, self.seed):
            return "another seed or other rows"
        recipe = from_dict(result.recipe, str(self.directory / "result.json"))
        if identity_of(recipe) != identity_of(self.recipe):
            return "another recipe"
        if not self.any_code and not made_here(result.environment):
            return f"other code or versions ({made_by(result.environment)})"
        return None

    def scores(self) -> dict[str, float] | None:
        """Return the scores of the result and those of training, such as `train/loss`; None before the run is complete."""
        result = self.result()
        directory = RunDirectory(self.directory)
        directory.logs.rows("evaluations.jsonl")
        return None if result is None else result.scores | directory.logs.training_scores(result)

    def damage(self) -> str | None:
        """Return why the files can be neither counted nor continued, None where nothing is wrong. Unchanged ones are read once."""
        now = (self.directory, tuple(_changed_at(self.directory / file) for file in READ))
        if now not in _damages:
            try:
                self.scores()
                _damages[now] = None
            except InputError as error:
                _damages[now] = error.problems[0]
        return _damages[now]

    def is_missing(self) -> bool:
        """Return whether it is to be run, or resumed: it is not complete, and not damaged."""
        return self.damage() is None and self.result() is None


def make_run(
    name: str, recipe: Recipe, output: Path, plan: Plan, options: RunOptions, starts_from: PlannedRun | None = None
) -> PlannedRun:
    """Plan the run of `recipe`, which is the packaged recipe `name` with `options` and a seed."""
    total_steps, seed = check_schedule(recipe.train, plan.num_sequences), recipe.train.seed
    if starts_from is not None:
        recipe = with_train(replace(recipe, init_from=str(starts_from.directory)), from_scratch=False)  # as --init-from does
    key = run_key(recipe, plan.fingerprints, options.runtime())
    identity = f"{name.replace('/', '-')}/seed-{seed}-{key}-{made_key(plan.files.revision, plan.weights)}"
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
    return PlannedRun(
        id=identity,
        recipe_name=name,
        recipe=recipe,
        key=key,
        directory=directory,
        arguments=arguments,
        total_steps=total_steps,
        fingerprints=plan.fingerprints,
        starts_from=starts_from,
    )


def _changed_at(path: Path) -> tuple[int, int] | None:
    """Return (time of the last change in ns, size in bytes), None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
