"""The shell completes values as well: models, recipes, tasks, tables, rows, keys. Nothing heavy is imported for that.

A parameter is completed by its name, whichever command has it; where a path may stand, the paths that are there come too.
"""

import inspect
import os
import typing
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import typer
from typer.models import ParameterInfo

from debft.config.packaged import recipe_names
from debft.config.recipe import SECTIONS, SOURCES, Recipe
from debft.tasks import LANGUAGES, TASKS


def with_completion(function: Callable[..., None]) -> Callable[..., None]:
    """Give the parameters of a command their completion."""
    for parameter in inspect.signature(function).parameters.values():
        for info in typing.get_args(parameter.annotation)[1:]:
            if isinstance(info, ParameterInfo):
                info.autocompletion = info.autocompletion or VALUES.get(parameter.name) or _choices_of(parameter.name)
    return function


def _choices_of(name: str) -> Callable[[str], list[str]] | None:
    """Return the completion of a parameter that sets a key with choices."""
    for section in SECTIONS:
        owner = type(getattr(Recipe(), section))
        if name in {f.name for f in fields(owner)} and (choices := _choices(f"{section}.{name}")):
            return lambda incomplete: _begin(choices, incomplete)
    return None


def _choices(key: str) -> list[str]:
    """Return the values of a key that has choices or is a switch, else []."""
    section, _, name = key.partition(".")
    owner = type(getattr(Recipe(), section, None))
    hint = typing.get_type_hints(owner).get(name) if section in SECTIONS else None
    if hint is bool:
        return ["true", "false"]
    return list(typing.get_args(hint)) if typing.get_origin(hint) is Literal else []


def _begin(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _paths(incomplete: str, *endings: str) -> list[str]:
    """Return the paths that begin so: directories, with a slash, and files with one of the endings."""
    folder, _, begun = incomplete.rpartition("/")
    where = Path(os.path.expanduser(f"{folder}/" if incomplete.startswith("/") else folder or "."))
    if not where.is_dir():
        return []
    before = incomplete.removesuffix(begun)
    found = sorted(path for path in where.iterdir() if path.name.startswith(begun) and (begun or not path.name.startswith(".")))
    return [f"{before}{path.name}{'/' if path.is_dir() else ''}" for path in found if path.is_dir() or path.name.endswith(endings)]


def models(incomplete: str) -> list[str]:
    """Complete aliases, and directories."""
    from debft.data.sources import demo
    from debft.models.names import MODELS

    return _begin([*MODELS, demo.MODEL_NAME], incomplete) + _paths(incomplete)


def recipes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete packaged recipes, of a task's command by their short names too, and YAML files."""
    task = ctx.info_name if ctx.info_name in TASKS else None
    of_task = [name.removeprefix(f"{task}/") for name in recipe_names() if task and name.startswith(f"{task}/")]
    others = [name for name in recipe_names() if task is None or "/" not in name or incomplete.startswith(f"{task}/")]
    return _begin([*of_task, *others], incomplete) + _paths(incomplete, ".yaml", ".yml")


def names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete what `debft recipes` shows: recipes and tasks, with --keys the sections and keys."""
    if ctx.params.get("keys"):
        return _begin([*SECTIONS, *_keys()], incomplete)
    return _begin([*TASKS], incomplete) + recipes(ctx, incomplete)


def tables(incomplete: str) -> list[str]:
    """Complete the names of tables."""
    from debft.published.load import table_names

    return _begin(table_names(), incomplete)


def rows(incomplete: str) -> list[str]:
    """Complete the rows of the table that was typed, of every table where none was."""
    return _begin(dict.fromkeys(row.name for table in _typed_tables() for row in table.rows), incomplete)


def tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete tasks; of `reproduce` those of the table that was typed."""
    if ctx.info_name != "reproduce":
        return _begin(TASKS, incomplete)
    return _begin(dict.fromkeys(column.task for table in _typed_tables() for column in table.columns), incomplete)


def _typed_tables() -> list[Any]:
    """Return the tables that the command line names so far, or all. An option without its value keeps it from being parsed."""
    from debft.published.load import load_published, table_names

    words = " ".join(os.environ.get(name, "") for name in ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")).split()
    known = table_names()
    return [load_published(name) for name in known if name in words] or [*map(load_published, known)]


def languages(incomplete: str) -> list[str]:
    """Complete the last language of a list, `fr,d` to `fr,de`."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{language}" for language in _begin(LANGUAGES, last) if language not in given]


def data(incomplete: str) -> list[str]:
    """Complete `hub`, `demo`, directories, and the files that own data may be in."""
    return _begin(SOURCES, incomplete) + _paths(incomplete, ".csv", ".tsv", ".jsonl", ".json", ".parquet")


def runs(incomplete: str) -> list[str]:
    """Complete directories."""
    return _paths(incomplete)


def assignments(incomplete: str) -> list[str]:
    """Complete `train.adam_epsilon=`, and the values of a key with choices behind it."""
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={choice}" for choice in _begin(_choices(key), value)]
    return [f"{key}=" for key in _begin(_keys(), incomplete)]


def _keys() -> list[str]:
    return [f"{section}.{f.name}" for section in SECTIONS for f in fields(getattr(Recipe(), section))]


def class_weight(incomplete: str) -> list[str]:
    """Complete the words of --class-weight."""
    return _begin(("none", "balanced"), incomplete)


# By the name of a parameter, in whichever command it is.
VALUES: dict[str, Callable[..., list[str]]] = {
    "model": models,
    "recipe": recipes,
    "name": names,
    "command": lambda incomplete: _paths(incomplete, ".sh"),
    "table": tables,
    "row": rows,
    "task": tasks,
    "eval_languages": languages,
    "train_language": lambda incomplete: _begin(LANGUAGES, incomplete),
    "data": data,
    "run_or_model": runs,
    "init_from": runs,
    "runs": runs,
    "places": runs,
    "output": runs,
    "assignments": assignments,
    "class_weight": class_weight,
    "executor": lambda incomplete: _begin(("local", "slurm"), incomplete),
}
