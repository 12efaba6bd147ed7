"""The recipe that options ask for: of a file, a default, or a run that is to go on, with what was given laid over it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from debft.config.differences import OPTIMISATION, differing_keys
from debft.config.packaged import default_recipe_path, published_weight, recipe_path
from debft.config.reading import load_recipe, parse_set
from debft.config.recipe import Recipe, value_at, with_values
from debft.console import say_field
from debft.errors import BadRowsError, InputError
from debft.library.options import DEFAULT_MODEL, OPTIONS
from debft.runs.directory import RunDirectory
from debft.runtime.devices import check_precision, device_type


def recipe_to_run(
    task: str,
    keys: Mapping[str, Any],
    *,
    recipe: str | None,
    sift: bool | None,
    assignments: Sequence[str],
    output: str | None,
    goes_on: bool,
) -> tuple[Recipe, RunDirectory]:
    """Return (the recipe that is asked for, the directory of its run). A run that is there has its recipe itself.

    goes_on: whether the run that is in `output` is meant, to be resumed or begun anew
    Raises InputError with one line per problem.
    """
    if goes_on and output and recipe is None and (run := RunDirectory(Path(output))).exists():
        return continued(task, run, keys, sift=sift, assignments=assignments), run
    resolved = resolve(task, keys, recipe=recipe, sift=sift, assignments=assignments)
    run = RunDirectory(Path(output) if output else default_output(resolved))
    if goes_on and output is None and recipe is None and run.exists():
        resolved = continued(task, run, keys, sift=sift, assignments=assignments)
    if goes_on and task == "text" and resolved.data == "hub" and not run.exists():
        raise InputError(f"{run.path}: expected a run to resume, found none; give the --output of one, or --data to begin one")
    return resolved, run


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

    Where the run came to a step that was not finite, an option of the optimisation may be another one too.

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
        elif key in OPTIMISATION and run.stopped_not_finite():
            continue  # said, and recorded, when the run goes on
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
    """Return how the user typed each key, `--learning-rate` or `--set train.adam_epsilon`. What no option has is of a file."""
    typed = {option.key: option.typed for option in OPTIONS if option.key} | {"sift.weight": "--sift"}
    assigned = {key: f"--set {key}" for key in parse_set(assignments)}
    return {key: typed.get(key, "--accelerate-config") for key in overrides} | assigned


def default_output(recipe: Recipe) -> Path:
    """Return the directory of a run where none is given."""
    from debft.models.names import short_name

    return Path("runs") / f"{recipe.task}-{short_name(recipe.model or DEFAULT_MODEL)}" / f"seed-{recipe.train.seed}"
