"""The space of a search says which keys of a recipe it tries, and which values of each; it is read and checked as a recipe is."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from debft.config import yaml12
from debft.config.reading import Problem, from_dict, is_finite_number
from debft.config.recipe import Recipe, value_at, with_values
from debft.console import say
from debft.errors import InputError, did_you_mean, one_of, shown
from debft.tasks.rules import check_recipe

DEFAULT_SPACE = Path(__file__).with_name("space.yaml")
SECTIONS = (
    "train",
    "text",
    "questions",
    "sift",
)  # of the keys that can be searched; the others say what is learned, or how it is computed
# Keys of these sections that cannot be, each with the reason.
NOT_SEARCHED = {
    "train.seed": "the best of several seeds is luck, not a setting; give --seed",
    "train.metric": "it says what is best; give the option",
    "train.max_steps": "it would change what a trial costs; search num_train_epochs",
    "train.eval_steps": "a search evaluates every trial at the same parts of its run",
    **dict.fromkeys(
        ("train.max_train_samples", "train.max_eval_samples", "train.skip_bad_rows"),
        "every trial has the same rows; give the option",
    ),
    "train.from_scratch": "every trial starts from the same weights; give the option",
}
RANGE_KEYS = ("low", "high", "log", "step")
Value = int | float | str | bool | None


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A dimension holds the values of one key: either `choices`, or all numbers from `low` to `high`."""

    choices: tuple[Value, ...] = ()
    """Values to choose from; () for a range."""
    low: float = 0.0
    """The lowest number of a range."""
    high: float = 0.0
    """The highest number of a range."""
    log: bool = False
    """Whether a range is searched evenly by its logarithm."""
    step: float | None = None
    """From one number of a range to the next; null: any number."""
    whole: bool = False
    """Whether the numbers of a range are whole."""

    @property
    def ends(self) -> tuple[Value, ...]:
        """The choices, or both ends of a range: if these are good, all are."""
        return self.choices or (self.low, self.high)


Space = dict[str, Dimension]  # by dotted key


def space_dict(space: Space) -> dict[str, Any]:
    """Return the space as plain data, for files."""
    return {key: asdict(dimension) | {"choices": list(dimension.choices)} for key, dimension in space.items()}


def read_space(path: Path | None, recipe: Recipe) -> Space:
    """Read the space in `path`, or the default one. Raises InputError with a line for every problem.

    recipe: what the search starts from; with `max_steps` the default space leaves the epochs out, and a file may not have them
    """
    where = str(path) if path else "the default space"
    if path is not None and not path.is_file():
        raise InputError(f"--space {path}: expected a YAML file, found none; {DEFAULT_SPACE} is one")
    content = yaml12.load(path or DEFAULT_SPACE)
    problems: list[Problem] = []
    space = dict(_dimensions(content, problems))
    if recipe.train.max_steps is not None and "train.num_train_epochs" in space:
        if path is None:
            say(f"train.num_train_epochs is not searched: every trial ends after {recipe.train.max_steps:,} steps (--max-steps)")
            del space["train.num_train_epochs"]
        else:
            problems.append(
                Problem(path="train.num_train_epochs", message="does nothing beside --max-steps; leave one of them out")
            )
    if not problems and not space:
        problems.append(Problem(path="", message="expected at least one key to search"))
    if problems:
        raise InputError(*(problem.line(where) for problem in problems))
    _check_ends(space, recipe, where)
    return space


def _dimensions(content: Any, problems: list[Problem]) -> Iterator[tuple[str, Dimension]]:
    """Give each dimension that can be read, with its dotted key; note what is wrong with the others."""
    if not isinstance(content, Mapping):
        problems.append(Problem(path="", message=f"expected sections {one_of(SECTIONS)}, got {shown(content)}"))
        return
    for section, keys in content.items():
        if section not in SECTIONS:
            problems.append(Problem(path=str(section), message=f"cannot be searched{did_you_mean(str(section), SECTIONS)}"))
        elif not isinstance(keys, Mapping):
            problems.append(Problem(path=section, message=f"expected keys with their values, got {shown(keys)}"))
        else:
            for key, values in keys.items():
                if dimension := _dimension(section, str(key), values, problems):
                    yield f"{section}.{key}", dimension


def _dimension(section: str, key: str, values: Any, problems: list[Problem]) -> Dimension | None:
    """Read the values of a key; None where something is wrong with them, which is noted."""
    path, owner = f"{section}.{key}", get_type_hints(Recipe)[section]
    known = [f.name for f in fields(owner)]
    message = None
    if key not in known:
        message = f"unknown key '{key}'{did_you_mean(key, known)}"
    elif path in NOT_SEARCHED:
        message = f"cannot be searched: {NOT_SEARCHED[path]}"
    elif isinstance(values, list):
        if len(values) > 1 and len(set(map(repr, values))) == len(values):
            return Dimension(choices=tuple(values))
        message = f"expected two different choices or more, got {shown(values)}"
    elif isinstance(values, Mapping):
        is_whole = get_type_hints(owner)[key] in (int, int | None)
        dimension, message = _range(values, is_whole)
        if dimension is not None:
            return dimension
    else:
        message = f"expected a list of choices, or a range such as {{low: 1e-5, high: 1e-4, log: true}}, got {shown(values)}"
    problems.append(Problem(path=path, message=message or "", unknown=key not in known))
    return None


def _range(values: Mapping[str, Any], is_whole: bool) -> tuple[Dimension | None, str | None]:
    """Return (the range, None), or (None, what is wrong with it)."""
    if unknown := [key for key in values if key not in RANGE_KEYS]:
        return None, f"unknown key '{unknown[0]}'{did_you_mean(str(unknown[0]), RANGE_KEYS)}"
    if lacking := [key for key in ("low", "high") if key not in values]:
        return None, f"missing key '{lacking[0]}'"
    numbers = {key: values[key] for key in ("low", "high", "step") if values.get(key) is not None}
    for key, value in numbers.items():
        if not is_finite_number(value) or (is_whole and value != int(value)):
            return None, f"{key}: expected {'a whole number' if is_whole else 'a number'}, got {shown(value)}"
    low, high, step, log = numbers["low"], numbers["high"], numbers.get("step"), values.get("log", False)
    if not isinstance(log, bool):
        return None, f"log: expected true or false, got {shown(log)}"
    if low >= high:
        return None, f"expected low below high, got {low!r} and {high!r}"
    if log and (low <= 0 or step is not None):
        return None, "log: expected a low above 0 and no step beside it"
    if step is not None and not 0 < step <= high - low:
        return None, f"step: expected one above 0 that fits between low and high, got {shown(step)}"
    kind = int if is_whole else float
    return Dimension(low=kind(low), high=kind(high), log=log, step=None if step is None else kind(step), whole=is_whole), None


def _check_ends(space: Space, recipe: Recipe, where: str) -> None:
    """Raise InputError with a line for every choice and every end of a range that no recipe may have."""
    problems: list[str] = []
    for path, dimension in space.items():
        section, _, key = path.partition(".")
        for value in dimension.ends:
            try:
                from_dict({section: {key: value}}, where)
                check_recipe(with_values(recipe, {path: value}), f"{where}: ")
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))


def check_not_typed(space: Space, typed: Mapping[str, str]) -> None:
    """Raise InputError for an option of the command that the search chooses. typed: what was typed, by key."""
    problems = [
        f"{typed[key]}: the search chooses it; leave it out, or take {key} out of the space" for key in space if key in typed
    ]
    if "train.eval_steps" in typed:
        problems.append(f"{typed['train.eval_steps']}: {NOT_SEARCHED['train.eval_steps']}; leave it out")
    if problems:
        raise InputError(*problems)


def with_trial_values(recipe: Recipe, values: Mapping[str, Value], source: str | None = None) -> Recipe:
    """Return the recipe of a trial."""
    return replace(with_values(recipe, as_read(values)), source=source or recipe.source)


def as_read(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values as the command of a trial reads them: the choice 3 of a key of numbers is 3.0."""
    read: dict[str, Value] = {}
    for path, value in values.items():
        section, _, key = path.partition(".")
        read[path] = value_at(from_dict({section: {key: value}}, path), path)
    return read
