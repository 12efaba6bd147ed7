"""This module prints recipes: a line each, one as YAML that runs as it stands, and what each key means."""

import json
import shutil
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import Field, fields
from typing import Any, Literal

import yaml

from debft.config import yaml12
from debft.config.dialects import DIALECTS, of_dialect
from debft.config.packaged import recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import SECTIONS, Recipe, value_at
from debft.config.schema import descriptions
from debft.console import broken, put
from debft.errors import InputError, did_you_mean
from debft.output.layout import fitted

PIPED_WIDTH = 160  # characters, where stdout is no terminal and COLUMNS says nothing
COMPARED = ("num_train_epochs", "warmup_steps", "learning_rate", "train_batch_size")  # of `train`, in the list of recipes
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
LIMITS = (("above", "above"), ("least", "at least"), ("below", "below"), ("most", "at most"))  # of a field's metadata, in words

DIALECTS_IN_WORDS = (
    "defaults: whose values hold for keys that a recipe does not give (its key `dialect`): card is the transformers command of the "
    "model cards, repo the DeBERTa repository. SiFT: the weight of adversarial training, - is none. "
    "debft recipes NAME shows a recipe whole, debft recipes --keys what each key means."
)


def recipes_list(task: str | None = None) -> list[dict[str, Any]]:
    """Return name, task, model, dialect, reproduces, source, and the hyper-parameters people compare, of the packaged recipes."""
    rows = []
    for name in recipe_names():
        if task is not None and name.partition("/")[0] != task:
            continue
        recipe = load_recipe(recipe_path(name))
        train = {key: getattr(recipe.train, key) for key in COMPARED} | {"sift_weight": recipe.sift.weight}
        rows.append(
            {"name": name, **{key: getattr(recipe, key) for key in ("task", "model", "dialect", "reproduces", "source")}, **train}
        )
    return rows


def print_recipes(rows: list[dict[str, Any]]) -> None:
    """Print a line for each recipe, as wide as the terminal is."""
    table = [["recipe", "defaults", "epochs", "warm-up", "learning rate", "batch", "SiFT"]]
    for row in rows:
        numbers = [f"{row['num_train_epochs']:g}", f"{row['warmup_steps']:g}", scientific(row["learning_rate"])]
        table.append([row["name"], row["dialect"], *numbers, str(row["train_batch_size"]), number(row["sift_weight"] or "-")])
    for block in fitted(table, stdout_width(), turn=False):
        put("\n".join(map(str, block)))
    put("\n" + "\n".join(broken(DIALECTS_IN_WORDS, stdout_width())))


def stdout_width() -> int:
    """Return the columns of the terminal, or those of a file."""
    return shutil.get_terminal_size((80 if sys.stdout.isatty() else PIPED_WIDTH, 24)).columns


def number(value: Any) -> str:
    """Write a number as people type it: `2e-5`, `4.5e-5`, `1e-4`, `0.1`, `3`; anything else as YAML has it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        if value and abs(value) < 1e-3:
            return scientific(value)
        return repr(value) if value != int(value) else f"{value:.0f}"
    return str(value)


def scientific(value: float) -> str:
    """Write a number with its power of ten: `2e-3`, `4.5e-5`."""
    digits, _, exponent = f"{value:.10e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def changes_yaml(recipe: Recipe) -> str:
    """Return what a recipe sets otherwise than its dialect does, as YAML, below a line that says where the rest is."""
    lines = recipe_yaml(recipe).splitlines()[1:]
    kept = [line for line in lines if not line.startswith(" ") or "  # default: " in line]
    named = [line for line, after in zip(kept, [*kept[1:], ""], strict=True) if not line.endswith(":") or after.startswith(" ")]
    return "\n".join(["# other values are the defaults, see `debft recipes --keys`", *named])


def recipe_yaml(recipe: Recipe, name: str | None = None) -> str:
    """Return the recipe as a YAML file that runs as it stands; what differs from the defaults of its dialect says so."""
    usual = of_dialect(recipe.dialect)
    lines = [f"# {name}: every value. One that is not the default has the default behind it." if name else "# every value"]
    of_run = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in SECTIONS}
    lines += [f"{key}: {scalar(value)}" for key, value in of_run.items() if value]
    for section in SECTIONS:
        lines.append(f"{section}:")
        for f in fields(getattr(usual, section)):
            value, default = (value_at(one, f"{section}.{f.name}") for one in (recipe, usual))
            mark = "" if value == default else f"  # default: {scalar(default)}"
            lines.append(f"  {f.name}: {scalar(value)}{mark}")
    return "\n".join(lines)


def scalar(value: Any) -> str:
    """Write a value so that YAML reads the same one."""
    if isinstance(value, str):
        plain = yaml.safe_dump(value, width=10**6, allow_unicode=True).removesuffix("\n").removesuffix("\n...")
        return plain if yaml12.parse(plain, "") == value else json.dumps(value, ensure_ascii=False)
    return number(value)


def explain_keys(prefix: str | None, flags: dict[str, str]) -> Iterator[str]:
    """Give lines about every key of a recipe, a section at a time, or about those that begin with `prefix`.

    flags: the option of the command line that sets a key, by the key
    Raises InputError where no key begins so.
    """
    keys = {key: (owner, f) for section in ("", *SECTIONS) for key, owner, f in _keys_of(section)}
    chosen = {key: of for key, of in keys.items() if prefix is None or key == prefix or key.startswith(f"{prefix}.")}
    if not chosen:
        raise InputError(f"--keys: no such key or section '{prefix}'{did_you_mean(prefix or '', [*SECTIONS, *keys])}")
    shown = None
    for key, (owner, f) in chosen.items():
        section = key.rpartition(".")[0]
        if section != shown:
            yield from [""] if shown is not None else []
            yield f"{section}: {descriptions(Recipe)[section]}" if section else "At the top of a recipe:"
            shown = section
        yield f"  {key}  ({_allowed(owner, f)}{_defaults(key)}{f'; {flags[key]}' if key in flags else ''})"
        yield f"      {descriptions(owner)[f.name]}"


def print_keys(lines: Sequence[str]) -> None:
    """Print what `explain_keys` gives, broken between words, with the indent of each line."""
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        deeper = indent + ("    " if line.startswith("  ") and not line.startswith("      ") else "")
        first, *others = broken(line.strip(), stdout_width() - len(deeper))
        put("\n".join([f"{indent}{first}", *(f"{deeper}{other}" for other in others)]))


def _keys_of(section: str) -> Iterator[tuple[str, type, Field]]:
    """Give dotted key, the dataclass that holds it, and its field."""
    owner = type(getattr(Recipe(), section)) if section else Recipe
    for f in fields(owner):
        if section or f.name not in SECTIONS:
            yield f"{section}.{f.name}".lstrip("."), owner, f


def _allowed(owner: type, f: Field) -> str:
    """Return what a key may be: `a number above 0`, `one of card, repo`, `text or null`."""
    hint = typing.get_type_hints(owner)[f.name]
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    (kind,) = (each for each in kinds if each is not types.NoneType)
    words = f"one of {', '.join(typing.get_args(kind))}" if typing.get_origin(kind) is Literal else WORDS[kind]
    limits = [f"{word} {number(f.metadata[bound])}" for bound, word in LIMITS if f.metadata.get(bound) is not None]
    return f"{words}{' ' if limits else ''}{' and '.join(limits)}{' or null' if types.NoneType in kinds else ''}"


def _defaults(key: str) -> str:
    """Return the default, and the one of the other dialect where that differs."""
    text = f"; default {scalar(value_at(Recipe(), key))}"
    return text + (f", in dialect repo {number(DIALECTS['repo'][key])}" if key in DIALECTS["repo"] else "")
