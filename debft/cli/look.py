"""The commands that only look: at recipes, and at this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from debft.cli.options import name_or_path
from debft.cli.stdout import print_json, until_closed
from debft.config import yaml12
from debft.config.packaged import recipe_path
from debft.config.plausible import implausible
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, to_dict
from debft.config.schema import schema
from debft.console import broken, put, say
from debft.errors import InputError, did_you_mean
from debft.library.options import DEFAULT_MODEL, OPTIONS
from debft.output.plain import OutputConsole
from debft.tasks import TASKS
from debft.tasks.rules import check_recipe

if TYPE_CHECKING:
    from debft.cli.doctor import Finding

COLOURS = {"ok": "green", "note": "yellow", "bad": "red"}  # by the state of a finding


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show this recipe, or those of this task; with --keys a section or a key.", metavar="NAME", callback=name_or_path
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="List the recipes of this task alone.", show_default=False)] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Explain every key of a recipe, or those of NAME.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    as_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of a recipe, with which editors complete and check one.")
    ] = False,
) -> None:
    """List the packaged recipes, or show one as YAML that runs as it stands, with every value it resolves to."""
    from debft.output.recipes import explain_keys, print_keys, print_recipes, recipe_yaml, recipes_list

    if as_schema:
        if name is not None:
            raise InputError(f"--schema: is of every recipe, {name} is one; leave one of the two out")
        print_json(schema(Recipe))
        return
    if keys:
        if as_json:
            raise InputError("--json: --keys prints text; --schema prints the keys as JSON, leave one of the two out")
        flags = {option.key: option.typed for option in OPTIONS if option.key}
        with until_closed():
            print_keys(list(explain_keys(name, flags)))
        return
    if task is not None and task not in TASKS:
        raise InputError(f"--task {task}: no such task{did_you_mean(task, TASKS)}")
    if name in TASKS:
        name, task = None, task or name
    if name is None:
        rows = recipes_list(task)
        if task is not None and not rows:
            put(f"no recipe of {task} alone: `debft {task}` runs the recipe `default`")
            return
        with until_closed():
            print_json({"recipes": rows}) if as_json else print_recipes(rows)
        return
    recipe = load_recipe(recipe_path(name, task, where=""))
    print_json(to_dict(recipe)) if as_json else put(recipe_yaml(recipe, name))


def check(
    recipe: Annotated[str, typer.Argument(help="Name or YAML file of a recipe.", metavar="RECIPE", callback=name_or_path)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the resolved recipe as JSON on stdout.")] = False,
) -> None:
    """Validate a recipe without training; every problem is reported at once, and what is hardly meant."""
    loaded = checked(recipe_path(recipe, where=""), recipe)
    for line in implausible(loaded):
        say(f"warning: {recipe}: {line}")
    print_json(to_dict(loaded)) if as_json else put(f"{recipe}: ok")


def checked(path: Path, name: str) -> Recipe:
    """Read a recipe and check it for its task. Raises InputError with a line for everything that is wrong with it."""
    from debft.models.names import check_model_name

    problems: list[str] = []
    content, loaded = yaml12.load(path), None
    task, model = content.get("task"), content.get("model")
    with _collected(problems):
        loaded = load_recipe(path)
    if isinstance(task, str) and task not in TASKS:
        problems.append(f"{name}: task: unknown task '{task}'{did_you_mean(task, TASKS)}")
    elif loaded is not None:
        with _collected(problems):
            usual = replace(loaded, task=loaded.task or next(iter(TASKS)), model=loaded.model or DEFAULT_MODEL)
            check_recipe(usual, f"{name}: ")
    if isinstance(model, str):
        try:
            check_model_name(model)
        except InputError as error:
            problems += [f"{name}: model: {problem.removeprefix('--model ')}" for problem in error.problems]
    if problems or loaded is None:
        raise InputError(*problems)
    return loaded


@contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    """Add the problems of an InputError in the block to a list."""
    try:
        yield
    except InputError as error:
        problems += error.problems


def doctor(
    model: Annotated[
        str | None, typer.Option(help="Also check this model: its weights, its tokens.", show_default=False, callback=name_or_path)
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Print the commit and sha256 of each file of --model, as YAML.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Check the environment: versions, device, hub, cache, and the traps of the installed packages."""
    from debft.cli.doctor import examine, pin_of

    if pin:
        if model is None:
            raise InputError("--pin: expected --model with an alias or a directory, got none; give the one to pin")
        put(pin_of(model), end="")
        return
    findings = examine(model)
    print_json({"findings": [asdict(finding) for finding in findings]}) if as_json else _print_findings(findings)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(2)


def _print_findings(findings: "list[Finding]") -> None:
    """Print a line per finding; on a terminal what does not fit goes on below the words of its first line."""
    console = OutputConsole(highlight=False)
    indent = " " * 21
    for finding in findings:
        console.print(f"[{COLOURS[finding.state]}]{finding.state:<5}[/] {finding.what:<14} ", end="")
        lines = broken(finding.found, console.width - len(indent)) if console.is_terminal else [finding.found]
        put(f"\n{indent}".join(lines))
