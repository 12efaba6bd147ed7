"""The task commands: resolve the recipe that the options ask for, show its plan or train it.

What knows models and training is imported by the function that needs it: `debft --help` and completion are there at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from debft.cli import several
from debft.cli.options import DEFAULT_MODEL, OPTIONS, command_with, options_of
from debft.cli.stdout import print_json
from debft.config.differences import differing_keys
from debft.config.packaged import default_recipe_path, published_weight, recipe_path
from debft.config.reading import load_recipe, parse_set
from debft.config.recipe import Recipe, value_at, with_values
from debft.console import activity, say, say_field
from debft.errors import BadRowsError, DebftError, HubError, InputError
from debft.runs.directory import RunDirectory
from debft.runtime.devices import check_precision, device_type, visible_gpus
from debft.runtime.launch.group import follow_parent, is_main_process
from debft.runtime.launch.local import processes_to_start, start_processes, starts_others
from debft.runtime.variables import check_variables

if TYPE_CHECKING:
    from debft.training.place import Start


def task_command(task: str) -> Callable[..., None]:
    """Make the command of `task`, with the signature from which Typer makes its options."""
    return command_with(options_of(task), lambda keys, **others: fine_tune(task, keys, **others))


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
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fine-tune `task`, or show what would be done. keys: the keys of the recipe that were typed, with their values."""
    from debft.training.place import start_of

    with in_words_of_options(options_typed(keys, assignments or ())):
        start = start_of(resume=resume, overwrite=overwrite)
        typed = {"keys": keys, "sift": sift, "assignments": assignments or ()}
        if resume and output and recipe is None and (run := RunDirectory(Path(output))).exists():
            resolved = continued(task, run, **typed)
        else:
            resolved = resolve(task, recipe=recipe, **typed)
            run = RunDirectory(Path(output) if output else default_output(resolved))
            if resume and output is None and recipe is None and run.exists():
                resolved = continued(task, run, **typed)
            if resume and task == "text" and resolved.data == "hub" and not run.exists():
                raise InputError(
                    f"{run.path}: expected a run to resume, found none; give the --output of one, or --data to begin one"
                )
        if several.repeats(resolved, seeds, jobs, num_processes, overwrite):
            directory = Path(output) if output else several.usual_output(resolved, run.path, seeds)
            several.repeat(resolved, directory, seeds=seeds, jobs=jobs, dry_run=dry_run, as_json=as_json)
        if dry_run:
            _show_plan(resolved, run, start, as_json)
            return
        if starts_others(num_processes):
            check_variables(None, visible_gpus())
            _check_before_start(resolved, run, start)
            raise typer.Exit(start_processes(processes_to_start(num_processes)))
        follow_parent()
        from debft.output.terminal import print_result
        from debft.training.run import finetune

        result = finetune(resolved, run.path, resume=resume, overwrite=overwrite)
        if is_main_process():
            write_page(run)
            print_result(result, run.path)
            if as_json:
                print(result.to_json())


def write_page(run: RunDirectory) -> None:
    """Write report.html where it is not there or older than the result. One that cannot be written is said, and loses nothing."""
    page, result = run.path / "report.html", run.path / "result.json"
    if page.exists() and page.stat().st_mtime_ns >= result.stat().st_mtime_ns:
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
    loaded = _with_typed(path, overrides, assignments)
    resolved = replace(loaded, task=loaded.task or task)
    if resolved.task != task:
        raise InputError(f"--recipe {recipe}: expected a recipe of {task}, got one of {resolved.task}")
    return resolved


def continued(task: str, run: RunDirectory, keys: Mapping[str, Any], *, sift: bool | None, assignments: Sequence[str]) -> Recipe:
    """Return the recipe of a run that is to go on; only what `runtime` has may be typed otherwise, and is said.

    Raises InputError with a line for each option that would make it another run.
    """
    from debft.models.names import canonical_name
    from debft.scoring.rows import TrainedOn
    from debft.training.place import ANOTHER_RUN, same_place

    recorded = run.recipe()
    trained = TrainedOn(recipe=recorded, split=run.split())
    if recorded.task != task:
        raise InputError(f"--output {run.path}: holds a run of {recorded.task}; debft {recorded.task} --output {run.path} --resume")
    overrides = dict(keys)
    if "model" in overrides:
        overrides["model"] = canonical_name(overrides["model"])
    if sift is not None and bool(recorded.sift.weight) != sift:
        overrides["sift.weight"] = published_weight(recorded.model or "") if sift else 0.0
    asked = _with_typed(run.path / "recipe.yaml", overrides, assignments)
    problems, options = [], options_typed(overrides, assignments)
    for key in differing_keys(recorded, asked, "resume"):
        before, now = value_at(recorded, key), value_at(asked, key)
        is_same = trained.holds(now) if key == "data" else key in ("model", "init_from") and same_place(before, now)
        if is_same:
            asked = with_values(asked, {key: before})
        elif key in options:  # others follow from one that is there
            problems.append(f"{options[key]}: the run in {run.path} has {before!r}, got {now!r}; {ANOTHER_RUN}")
    if problems:
        raise InputError(*problems)
    for key in options:
        if key.startswith("runtime.") and (before := value_at(recorded, key)) != (now := value_at(asked, key)):
            say_field("resumed", f"{options[key]} {now} from here on, {before} before")
    return asked


def _with_typed(path: Path, overrides: Mapping[str, Any], assignments: Sequence[str]) -> Recipe:
    """Return the recipe in a file with what was typed laid over it. Raises InputError with one line per problem."""
    from debft.models.attention.backends import check_attention

    assigned = parse_set(assignments)
    if twice := next((key for key in assigned if key in overrides), None):
        raise InputError(f"--set {twice}: is given as an option as well; give it once")
    loaded = load_recipe(path, {**overrides, **assigned}, options_typed(overrides, assignments))
    if "runtime.precision" in {**overrides, **assigned}:  # that of a file may give way to the hardware, a typed one may not
        check_precision(loaded.runtime.precision)
    if loaded.runtime.attention != "auto":
        check_attention(loaded.runtime.attention, None, device_type())
    return loaded


@contextmanager
def in_words_of_options(options: Mapping[str, str]) -> Iterator[None]:
    """Let an error about a key name the option that was typed for it, and one about rows the option that leaves them out.

    options: how each key was typed
    """
    try:
        yield
    except BadRowsError as error:
        raise InputError(*(f"{problem}; mend it, or --skip-bad-rows leaves such rows out" for problem in error.problems)) from error
    except InputError as error:
        named = {problem: options.get(problem.partition(": ")[0]) for problem in error.problems}
        if not any(named.values()):
            raise
        lines = (f"{option}: {problem.partition(': ')[2]}" if option else problem for problem, option in named.items())
        raise type(error)(*lines) from error


def options_typed(overrides: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, str]:
    """Return how the user typed each key, `--learning-rate` or `--set train.adam_epsilon`."""
    typed = {option.key: option.typed for option in OPTIONS if option.key} | {"sift.weight": "--sift"}
    return {key: typed[key] for key in overrides} | {key: f"--set {key}" for key in parse_set(assignments)}


def default_output(recipe: Recipe) -> Path:
    """Return the directory of a run where none is given."""
    from debft.models.names import short_name

    return Path("runs") / f"{recipe.task}-{short_name(recipe.model)}" / f"seed-{recipe.train.seed}"


def _show_plan(recipe: Recipe, run: RunDirectory, start: "Start", as_json: bool) -> None:
    """Check all that the run itself would check, do a few of its steps in memory, and print its plan with what it will take."""
    from debft.output.terminal import plan_dict, print_plan
    from debft.training.describe import describe
    from debft.training.place import check_output, place_of_rows
    from debft.training.plan import make_plan

    check_output(run, recipe, start)
    try:
        plan = make_plan(recipe, place_of_rows(run, recipe, start))
    except HubError as error:
        several.show_estimate(recipe, None, error, as_json)
        return
    describe(plan)
    with activity("loading torch"):
        from debft.training.probe import probe
    estimate = probe(plan, run)
    print_json(plan_dict(plan, run.path, estimate)) if as_json else print_plan(plan, run.path, estimate)


def _check_before_start(recipe: Recipe, run: RunDirectory, start: "Start") -> None:
    """Find bad input once, before each of several processes would find it."""
    from debft.training.place import check_output, place_of_rows
    from debft.training.plan import make_plan

    if check_output(run, recipe, start) is None:
        make_plan(recipe, place_of_rows(run, recipe, start))
