"""The commands that only look: at recipes, and at this machine."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from debft.cli.options import DEFAULT_MODEL, name_or_path
from debft.cli.stdout import print_json
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, to_dict
from debft.config.schema import schema
from debft.console import OutputConsole
from debft.errors import InputError
from debft.tasks import TASKS
from debft.tasks.rules import check_recipe

if TYPE_CHECKING:
    from debft.cli.doctor import Finding

COLOURS = {"ok": "green", "note": "yellow", "bad": "red"}  # by the state of a finding


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe alone.", metavar="NAME", callback=name_or_path)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    as_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of a recipe, with which editors complete and check one.")
    ] = False,
) -> None:
    """List the packaged recipes, or show one with every value it resolves to."""
    from debft.output.terminal import print_recipe, print_recipes, recipes_list

    if as_schema:
        if name is not None:
            raise InputError(f"--schema: is of every recipe, {name} is one; leave one of the two out")
        print_json(schema(Recipe))
        return
    if name is None:
        print_json({"recipes": recipes_list()}) if as_json else print_recipes(recipes_list())
        return
    recipe = load_recipe(recipe_path(name))
    print_json(to_dict(recipe)) if as_json else print_recipe(recipe)


def check(
    recipe: Annotated[str, typer.Argument(help="Name or YAML file of a recipe.", metavar="RECIPE", callback=name_or_path)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the resolved recipe as JSON on stdout.")] = False,
) -> None:
    """Validate a recipe without training; every problem is reported at once."""
    loaded = load_recipe(recipe_path(recipe))
    check_recipe(replace(loaded, task=loaded.task or next(iter(TASKS)), model=loaded.model or DEFAULT_MODEL), f"{recipe}: ")
    print_json(to_dict(loaded)) if as_json else print(f"{recipe}: ok")


def doctor(
    model: Annotated[
        str | None, typer.Option(help="Also check this model: its weights, its tokens.", show_default=False, callback=name_or_path)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Check the environment: versions, device, hub, cache, and the traps of the installed packages."""
    from debft.cli.doctor import examine

    findings = examine(model)
    print_json({"findings": [asdict(finding) for finding in findings]}) if as_json else _print_findings(findings)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(2)


def _print_findings(findings: "list[Finding]") -> None:
    for finding in findings:
        OutputConsole(highlight=False).print(f"[{COLOURS[finding.state]}]{finding.state:<5}[/] {finding.what:<14} ", end="")
        print(finding.found)
