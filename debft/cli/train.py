"""The task commands: resolve the recipe that the options ask for, show its plan or train it.

What knows models and training is imported by the function that needs it: `debft --help` and completion are there at once.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from debft.cli import several
from debft.cli.options import DEFAULT_MODEL, OPTIONS, options_of
from debft.cli.stdout import print_json
from debft.config.packaged import default_recipe_path, published_weight, recipe_path
from debft.config.reading import load_recipe, parse_set
from debft.config.recipe import Recipe
from debft.console import say, say_field
from debft.errors import DebftError, InputError
from debft.runs.directory import RunDirectory
from debft.runtime.devices import check_precision, device_type, visible_gpus
from debft.runtime.launch.group import follow_parent, is_main_process
from debft.runtime.launch.local import processes_to_start, start_processes, starts_others
from debft.runtime.variables import check_variables


def task_command(task: str) -> Callable[..., None]:
    """Make the command of `task`, with the signature from which Typer makes its options."""
    options = options_of(task)

    def command(**typed: Any) -> None:
        keys = {option.key: typed[option.name] for option in options if option.key and typed[option.name] is not None}
        fine_tune(task, keys, **{option.name: typed[option.name] for option in options if not option.key})

    command.__signature__ = inspect.Signature([option.parameter() for option in options])
    return command


def fine_tune(
    task: str,
    keys: Mapping[str, Any],
    *,
    recipe: str | None,
    sift: bool | None,
    assignments: Sequence[str] | None,
    output: str | None,
    seeds: int | None,
    jobs: int | None,
    num_processes: int | None,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fine-tune `task`, or show what would be done. keys: the keys of the recipe that were typed, with their values."""
    resolved = resolve(task, keys, recipe=recipe, sift=sift, assignments=assignments or ())
    run = RunDirectory(Path(output) if output else _default_output(resolved))
    if several.repeats(resolved, seeds, jobs, num_processes):
        directory = Path(output) if output else several.usual_output(resolved, run.path, seeds)
        several.repeat(resolved, directory, seeds=seeds, jobs=jobs, dry_run=dry_run, as_json=as_json)
    if dry_run:
        _show_plan(resolved, run, resume, as_json)
        return
    if starts_others(num_processes):
        check_variables(None, visible_gpus())
        _check_before_start(resolved, run, resume)
        raise typer.Exit(start_processes(processes_to_start(num_processes)))
    follow_parent()
    from debft.output.terminal import print_result
    from debft.training.run import finetune

    result = finetune(resolved, run.path, resume=resume)
    if is_main_process():
        write_page(run)
        print_result(result, run.path)
        if as_json:
            print(result.to_json())


def write_page(run: RunDirectory) -> None:
    """Write report.html where the run has none. One that cannot be written is said: the result is there all the same."""
    if (run.path / "report.html").exists():
        return
    from debft.output.pages.run_page import write_run_page

    try:
        write_run_page(run)
    except DebftError as error:
        say(f"report.html: not written: {error.problems[0]}")


def resolve(
    task: str, keys: Mapping[str, Any], *, recipe: str | None = None, sift: bool | None = None, assignments: Sequence[str] = ()
) -> Recipe:
    """Return the recipe that the options ask for: a file, the typed keys over it, and `--set` assignments.

    Raises InputError with one line per problem, each where the user typed it.
    """
    from debft.data.sources import demo
    from debft.models.attention.backends import check_attention
    from debft.models.names import canonical_name

    overrides = dict(keys)
    if "model" in overrides:
        overrides["model"] = canonical_name(overrides["model"])
    model = overrides.get("model") or (demo.MODEL_NAME if overrides.get("data") == "demo" else DEFAULT_MODEL)
    path = recipe_path(recipe, task) if recipe else default_recipe_path(task, model, sift=bool(sift))
    in_file = load_recipe(path)
    if in_file.model is None or not recipe:
        overrides["model"] = model
    if sift is not None and bool(in_file.sift.weight) != sift:
        overrides["sift.weight"] = published_weight(overrides.get("model") or in_file.model or "") if sift else 0.0
    assigned = parse_set(assignments)
    if twice := next((key for key in assigned if key in overrides), None):
        raise InputError(f"--set {twice}: is given as an option as well; give it once")
    typed = {option.key: option.typed for option in OPTIONS if option.key} | {"sift.weight": "--sift"}
    origins = {key: typed[key] for key in overrides} | {key: f"--set {key}" for key in assigned}
    loaded = load_recipe(path, overrides | assigned, origins)
    resolved = replace(loaded, task=loaded.task or task)
    if resolved.task != task:
        raise InputError(f"--recipe {recipe}: expected a recipe of {task}, got one of {resolved.task}")
    if "runtime.precision" in overrides | assigned:  # the precision of a file may give way to the hardware, a typed one may not
        check_precision(resolved.runtime.precision)
    if resolved.runtime.attention != "auto":
        check_attention(resolved.runtime.attention, None, device_type())
    return resolved


def _default_output(recipe: Recipe) -> Path:
    from debft.models.names import short_name

    return Path("runs") / f"{recipe.task}-{short_name(recipe.model)}" / f"seed-{recipe.train.seed}"


def _show_plan(recipe: Recipe, run: RunDirectory, resume: bool, as_json: bool) -> None:
    """Check all that the run itself would check, and print its plan."""
    from debft.models.attention.backends import attention_for
    from debft.models.json_files import read_config
    from debft.output.terminal import plan_dict, print_plan
    from debft.training.describe import describe, with_remark
    from debft.training.plan import check_output, make_plan
    from debft.training.precision import precision_for

    precision, remark = precision_for(recipe)
    check_output(run, recipe, resume)
    plan = make_plan(recipe)
    describe(plan)
    if remark:
        say_field("precision", with_remark(precision, remark))
    attention = attention_for(recipe.runtime.attention, read_config(plan.files.path), device_type())
    say_field("attention", with_remark(*attention))
    print_json(plan_dict(plan, run.path)) if as_json else print_plan(plan, run.path)


def _check_before_start(recipe: Recipe, run: RunDirectory, resume: bool) -> None:
    """Find bad input once, before each of several processes would find it."""
    from debft.training.plan import check_output, make_plan

    if check_output(run, recipe, resume) is None:
        make_plan(recipe)
