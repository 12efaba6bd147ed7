"""Everything about a run that can be known, and wrong, before weights are loaded."""

from dataclasses import dataclass, fields
from functools import cached_property

from debft.checks import check_recipe, check_schedule
from debft.data import load_table
from debft.data.checks import Examples, check_rows
from debft.errors import InputError
from debft.models import ModelFiles, check_model_name, find_model, longest_input, read_config
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


def make_plan(recipe: Recipe) -> Plan:
    """Check recipe, model files and every row of the data. Raises InputError; touches no weights, writes no run."""
    check_recipe(recipe)
    task = TASKS[recipe.task or ""]
    config = recipe.train
    check_model_name(recipe.model or "")
    examples = {
        split.name: check_rows(
            load_table(task, split, recipe.data), task, config.max_train_samples if split is task.train else config.max_eval_samples
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
    """The result of a complete run to return as it is. Raises InputError where `output` holds something else."""
    if not run.occupied():
        return None
    if not run.exists():
        raise InputError(f"--output {run.path}: expected an empty directory or a run, got other files; choose another --output")
    if not resume:
        raise InputError(f"--output {run.path}: holds a run already; --resume continues it, or choose another --output")
    there = run.recipe()
    differ = [f"train.{f.name}" for f in fields(recipe.train) if getattr(there.train, f.name) != getattr(recipe.train, f.name)]
    differ += [name for name in ("task", "model", "data") if getattr(there, name) != getattr(recipe, name)]
    if differ:
        name = differ[0]
        here, theirs = (getattr(r.train, name[6:]) if name.startswith("train.") else getattr(r, name) for r in (recipe, there))
        raise InputError(
            f"--output {run.path}: holds a different run: {name} is {theirs!r} there and {here!r} here; choose another --output"
        )
    return run.result()
