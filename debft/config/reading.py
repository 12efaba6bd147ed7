"""This module makes a Recipe of YAML and overrides. It finds everything that is wrong in one go, each thing as a `Problem`."""

import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeGuard

from debft.config import yaml12
from debft.config.dialects import DIALECTS
from debft.config.packaged import display
from debft.config.recipe import SECTIONS, Recipe, to_dict
from debft.config.recipe_hash import MOVED
from debft.errors import InputError, did_you_mean, has_half_surrogate, one_of, shown, without_secrets

SECRET = "expected no token or password, got one, and a run writes its recipe into files; take it out"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem is one thing that is wrong in a recipe."""

    path: str
    """Dotted key, such as `train.learning_rate`; "" for the whole file."""
    message: str
    """What is wrong and what to do, without the place."""
    unknown: bool = False
    """Whether there is no such key: a line about a file then points to the section that the key stands in."""

    def line(self, where: str, typed: Mapping[str, str] = MappingProxyType({})) -> str:
        """Put the place before the message: what the user typed for the key, else its place in the file `where`."""
        if self.path in typed:
            return f"{typed[self.path]}: {self.message}"
        place = self.path.rpartition(".")[0] if self.unknown else self.path
        return ": ".join(part for part in (where, place, self.message) if part)


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None, origins: Mapping[str, str] | None = None) -> Recipe:
    """Read the recipe in `path` with `overrides` (`{"train.learning_rate": 1e-5}`) laid over it.

    An `init_from` among them ends the file's `from_scratch`; a `patience` or `metric` implies what it needs. The recipe.yaml of an
    old run is taken as `from_dict` takes it: it has every key that was moved, which no recipe of a user has.

    origins: what the user typed for an override (`{"train.learning_rate": "--learning-rate"}`), for the error lines.
    Raises InputError with one line per problem of the file and of the overrides.
    """
    content = yaml12.load(path)
    if _is_of_an_old_run(content):
        content = upgraded(content)
    overrides = dict(overrides or {})
    if overrides.get("init_from") is not None:
        overrides.setdefault("train.from_scratch", False)
    for dotted, value in overrides.items():
        _put(content, dotted, value)
    return from_content(content, display(path), origins)


def from_content(content: dict[str, Any], where: str, origins: Mapping[str, str] | None = None) -> Recipe:
    """Make the recipe of what a file or a command gives, with what its dialect and other keys imply. `content` is filled up.

    where, origins: for the error lines, as `load_recipe` has them
    Raises InputError with one line per problem.
    """
    dialect = content.get("dialect", "card")
    for dotted, value in DIALECTS.get(dialect, {}).items() if isinstance(dialect, str) else ():
        _put(content, dotted, value, keep=True)
    for dotted, value in _implied(content.get("train")).items():
        _put(content, dotted, value, keep=True)
    return _checked(content, where, origins or {})


def _implied(train: Any) -> dict[str, Any]:
    """Return what `patience` and `metric` ask for beside themselves: the best weights, and evaluations where no rhythm is given."""
    if not isinstance(train, dict) or (train.get("patience") is None and train.get("metric") is None):
        return {}
    rhythm = train.get("patience") is not None and not {"eval_steps", "eval_each_epoch"} & train.keys()
    return {"train.checkpoint": "best"} | ({"train.eval_each_epoch": True} if rhythm else {})


def from_dict(content: Mapping[str, Any], where: str) -> Recipe:
    """Read what `to_dict` wrote, in this version or an older one, with the same checks as a file. where: for the error lines.

    Raises InputError with one line per problem.
    """
    return _checked(upgraded(content), where, {})


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Bring what an older version wrote, where keys had other owners, into the sections of this one."""
    new = {key: dict(value) if isinstance(value, Mapping) else value for key, value in content.items()}
    for old, moved in MOVED.items():
        (old_section, _, old_key), (section, _, key) = old.partition("."), moved.partition(".")
        source, target = new.get(old_section), new.setdefault(section, {})
        if isinstance(source, dict) and old_key in source and isinstance(target, dict) and key not in target:
            target[key] = source.pop(old_key)
    return new


def _is_of_an_old_run(content: Mapping[str, Any]) -> bool:
    """Tell the recipe.yaml that an older version wrote: one of its sections has every key that was moved from there."""
    for section in ("train", "text"):
        moved = {key for old in MOVED for of, _, key in [old.partition(".")] if of == section}
        if isinstance(has := content.get(section), dict) and has.keys() >= moved:
            return True
    return False


def secrets_in(recipe: Recipe) -> list[Problem]:
    """Find the values of a recipe, made by a program, that hold a secret. One that was read has none."""
    content = to_dict(recipe)
    flat = content | {f"{section}.{key}": value for section in SECTIONS for key, value in content[section].items()}
    texts = {key: value for key, value in flat.items() if isinstance(value, str)}
    return [Problem(path=key, message=SECRET) for key, text in texts.items() if without_secrets(text) != text]


def parse_set(assignments: Iterable[str]) -> dict[str, Any]:
    """Read `["train.seed=1"]` as `{"train.seed": 1}`; values are read as YAML. Raises InputError for anything else."""
    overrides = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        section, _, name = key.partition(".")
        if not equals or section not in SECTIONS or not name:
            raise InputError(f"--set {text}: expected SECTION.KEY=VALUE, where SECTION is one of {one_of(SECTIONS)}, got '{text}'")
        if key in overrides:
            raise InputError(f"--set {text}: {key} is set twice; give it once")
        overrides[key] = yaml12.parse(value, f"--set {text}")
    return overrides


def _put(content: dict[str, Any], dotted: str, value: Any, keep: bool = False) -> None:
    """Set a dotted key. keep: leave a value that is there. A section that is no mapping is left, for the checks to name."""
    section, _, key = dotted.rpartition(".")
    target = content.setdefault(section, {}) if section else content
    if isinstance(target, dict) and not (keep and key in target):
        target[key] = value


def _checked(content: Mapping[str, Any], where: str, typed: Mapping[str, str]) -> Recipe:
    """Make the recipe of plain data. Raises InputError with a line per problem, placed in `where` or where the user typed it."""
    problems: list[Problem] = []
    recipe = _build(Recipe, content, "", problems)
    if problems:
        raise InputError(*(problem.line(where, typed) for problem in problems))
    return recipe


def _build(kind: type, content: Any, path: str, problems: list[Problem]) -> Any:
    """Make a `kind` of a mapping; problems are collected, not raised, and the value then means nothing."""
    if not isinstance(content, Mapping):
        problems.append(Problem(path=path, message=f"expected a mapping of keys to values, got {shown(content)}"))
        return None
    known, hints, values = {f.name: f for f in fields(kind)}, typing.get_type_hints(kind), {}
    for key, value in content.items():
        place = f"{path}.{key}" if path else str(key)
        if key not in known:
            problems.append(_unknown(place, key, known))
        elif is_dataclass(hints[key]):
            values[key] = _build(hints[key], value, place, problems)
        else:
            values[key] = _value(value, hints[key], known[key].metadata, place, problems)
    required = [name for name, f in known.items() if f.default is MISSING]
    missing = [name for name in required if name not in content]
    problems += [Problem(path=path, message=f"missing key '{name}'") for name in missing]
    return None if missing else kind(**values)


def _unknown(place: str, key: Any, known: Iterable[str]) -> Problem:
    """Say of a key that there is none such; where it is now, or which section it belongs to."""
    if place in MOVED:
        return Problem(path=place, message=f"moved to {MOVED[place]}")
    word, near = str(key), did_you_mean(str(key), known)
    owners = {f.name: section for section in SECTIONS for f in fields(getattr(Recipe(), section))}
    if place != word and word in {f.name for f in fields(Recipe)}:
        near = "; it belongs at the top"
    elif word in owners:
        near = f"; it belongs under '{owners[word]}:'"
    elif near.startswith("; expected") and (close := get_close_matches(word, owners, n=1)):
        near = f"; did you mean '{close[0]}' under '{owners[close[0]]}:'?"
    return Problem(path=place, message=f"unknown key '{key}'{near}", unknown=True)


def _value(value: Any, hint: Any, bounds: Mapping[str, Any], path: str, problems: list[Problem]) -> Any:
    """Read `value` as the type `hint`, within `bounds`."""
    if isinstance(value, str) and without_secrets(value) != value:
        problems.append(Problem(path=path, message=SECRET))
        return None
    if isinstance(value, str) and has_half_surrogate(value):
        problems.append(Problem(path=path, message=f"expected text that UTF-8 can write, got {shown(value)}"))
        return None
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if not isinstance(value, str) or value not in choices:
            problems.append(Problem(path=path, message=f"expected one of {one_of(choices)}, got {shown(value)}"))
        return value
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]
    if not _fits(value, hint):
        problems.append(Problem(path=path, message=f"expected {expected}, got {shown(value)}"))
        return value
    for name, fails, words in (
        ("above", lambda bound: value <= bound, "above"),
        ("least", lambda bound: value < bound, "of at least"),
        ("below", lambda bound: value >= bound, "below"),
        ("most", lambda bound: value > bound, "of at most"),
    ):
        bound = bounds.get(name)
        if bound is not None and fails(bound):
            problems.append(Problem(path=path, message=f"expected {expected} {words} {bound}, got {shown(value)}"))
    return hint(value)


def _fits(value: Any, hint: type) -> bool:
    """Tell whether a plain value can be read as `hint`: 2.0 is a whole number, true is no number, NaN is none either."""
    if hint not in (int, float):
        return isinstance(value, hint)
    return is_finite_number(value) and (hint is float or (abs(value) < 1e18 and value == int(value)))


def is_finite_number(value: Any) -> TypeGuard[float]:
    """Tell whether a plain value is a number that a float can be: no truth value, NaN, infinity, or whole number of 400 digits."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
