"""The recipe of an imported command: as YAML that says of each value where it comes from, and which packaged recipe it equals."""

from typing import Any

from debft.cli.foreign.imported import Imported, Note
from debft.cli.foreign.launchers import find_call
from debft.cli.foreign.shell_text import Script
from debft.cli.foreign.special import import_call
from debft.config.differences import differing_keys
from debft.config.packaged import recipe_names, recipe_path
from debft.config.reading import from_content, load_recipe
from debft.config.recipe import SECTIONS, Recipe
from debft.errors import InputError
from debft.models.names import check_model_name
from debft.output.recipes import scalar
from debft.tasks.rules import check_recipe


def imported_recipe(text: str, where: str, gpus: int | None) -> tuple[Recipe, str, list[Note]]:
    """Read a command and return its recipe, the same as YAML, and the notes on what changed.

    where: what error lines call the text
    gpus: processes of the command, where only the user knows
    Raises InputError with a line for everything that cannot be imported.
    """
    script = Script()
    found = import_call(find_call(script, text, where, gpus), script)
    content: dict[str, Any] = {"dialect": found.program.dialect}
    for key, value in found.values.items():
        section, _, name = key.rpartition(".")
        (content.setdefault(section, {}) if section else content)[name] = value
    content["source"] = f"imported from a command of {found.program.name}"
    recipe = from_content(content, where, found.typed)
    check_recipe(recipe, f"{where}: ")
    try:
        check_model_name(recipe.model or "")
    except InputError as error:
        found.note("say", f"model {recipe.model}", f"{error.problems[0].partition(': ')[2]}; `debft check` will say so too")
    found.note("say", "", _equal(recipe))
    return recipe, _yaml(found), found.notes


def _equal(recipe: Recipe) -> str:
    """Name the packaged recipe that trains alike, but for seed and data, or say that there is none."""
    for name in (name for name in recipe_names() if name.startswith(f"{recipe.task}/")):
        packaged = load_recipe(recipe_path(name))
        if (packaged.task, packaged.model) == (recipe.task, recipe.model) and not differing_keys(packaged, recipe, "cell"):
            return f"the same as the packaged recipe {name}: `debft {recipe.task} --model {recipe.model} --recipe {name}`"
    return f"no packaged recipe is the same; `debft recipes {recipe.task}` lists those of {recipe.task}"


def _yaml(found: Imported) -> str:
    """Write the recipe as a file that holds what the command asks for, with where each value comes from."""
    lines = []
    for section in ("", *SECTIONS):
        keys = [key for key in found.values if key.rpartition(".")[0] == section]
        lines += [f"{section}:"] if section and keys else []
        for key in sorted(keys, key=lambda key: ("model", "task", "data").index(key) if not section else 0):
            origin = f"  # {found.typed[key]}" if key in found.typed else ""
            lines.append(f"{'  ' if section else ''}{key.rpartition('.')[2]}: {scalar(found.values[key])}{origin}")
        lines += [f"dialect: {found.program.dialect}"] if not section else []
    return "\n".join([*lines, f"source: imported from a command of {found.program.name}", ""])
