"""Everything about a run that can be known, and wrong, before weights are loaded."""

import os
from dataclasses import dataclass, fields
from functools import cached_property

from debft.checks import check_recipe, check_schedule
from debft.data import SOURCES, load_table
from debft.data.checks import Examples, check_rows
from debft.errors import InputError
from debft.models import ModelFiles, check_model_name, find_model, longest_input, read_config
from debft.progress import say
from debft.recipe import Recipe
from debft.results import RunDirectory, RunResult
from debft.tasks import TASKS, Task


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is known before weights are loaded, and has been checked. examples: by split name."""

    recipe: Recipe
    task: Task
    files: ModelFiles
    examples: dict[str, Examples]
    total_steps: int

    @property
    def train(self) -> Examples:
        return self.examples[self.task.train.name]

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        return {name: examples.fingerprint() for name, examples in self.examples.items()}

    @property
    def skipped_rows(self) -> dict[str, int]:
        return {name: len(examples.skipped) for name, examples in self.examples.items()}


def make_plan(recipe: Recipe) -> Plan:
    """Check recipe, model files and every row of the data. Raises InputError; touches no weights, writes no run."""
    check_recipe(recipe)
    task = TASKS[recipe.task or ""]
    config = recipe.train
    check_model_name(recipe.model or "")
    examples = {
        split.name: check_rows(
            load_table(task, split, recipe.data),
            task,
            config.max_train_samples if split is task.train else config.max_eval_samples,
            train=split is task.train,
            skip=config.skip_bad_rows,
        )
        for split in task.splits
    }
    files = find_model(recipe.model or "", config.from_scratch)
    longest = longest_input(read_config(files.path))
    if longest is not None and config.max_seq_length > longest:
        raise InputError(
            f"train.max_seq_length: expected at most the {longest} positions of {files.name}, got {config.max_seq_length}"
        )
    total_steps = check_schedule(config, len(examples[task.train.name]))
    return Plan(recipe=recipe, task=task, files=files, examples=examples, total_steps=total_steps)


def check_output(run: RunDirectory, recipe: Recipe, resume: bool) -> RunResult | None:
    """The result of a complete run, to return as it is.

    Raises InputError where `output` holds something else or cannot be written.
    """
    where = f"--output {run.path}"
    existing = next(path for path in (run.path, *run.path.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"{where}: expected a directory that can be written, got {existing}; choose another --output")
    if not run.occupied():
        return None
    if not run.exists():
        raise InputError(f"{where}: expected an empty directory or a run, got other files; choose another --output")
    if not resume:
        raise InputError(f"{where}: holds a run already; --resume continues it, or choose another --output")
    _check_same_run(where, run.recipe(), recipe)
    result = run.result()
    if result is not None and not (run.model / "config.json").is_file():
        raise InputError(f"{where}: the run is complete but its model/ is gone; choose another --output")
    return result


def _check_same_run(where: str, there: Recipe, here: Recipe) -> None:
    """Raises InputError naming the first thing that moves the score and differs."""
    pairs = [("task", there.task, here.task), ("model", there.model, here.model)]
    pairs.append(("data", *(r.data if r.data in SOURCES else os.path.realpath(r.data) for r in (there, here))))
    pairs += [(f"train.{f.name}", getattr(there.train, f.name), getattr(here.train, f.name)) for f in fields(here.train)]
    for name, old, new in pairs:
        if old != new:
            raise InputError(f"{where}: holds a different run: {name} is {old!r} there and {new!r} here; choose another --output")


def describe(plan: Plan) -> None:
    """What is about to run, in a line or two; said before torch is imported."""
    recipe = plan.recipe
    dev = " + ".join(f"{len(plan.examples[split.name]):,}" for split in plan.task.evals)
    rows = f"{len(plan.train):,} train   {dev} dev"
    say(f"{plan.task.name}   {recipe.model}   dialect {recipe.dialect}   data {recipe.data}   {rows}")
    if empty := sum(examples.empty_texts for examples in plan.examples.values()):
        say(f"{empty:,} empty texts in the data, kept")
    say_skipped(plan.examples)


def say_skipped(examples: dict[str, Examples]) -> None:
    """One line per split that rows were left out of: how many, which and why."""
    for name, kept in examples.items():
        if kept.skipped:
            say(f"{name}: {kept.skipped}")
