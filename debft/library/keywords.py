"""The keywords of `debft.finetune` are the options of the command line, with underscores."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from debft.errors import InputError, did_you_mean, has_half_surrogate, shown
from debft.library.options import OF_LAUNCH, OPTIONS, options_of
from debft.runs.storage import failing_disk, unusable_paths
from debft.tasks import TASKS

# Options that a call does not have: it trains one run in the process of the caller, and returns what the others would print.
ONLY_TYPED = {
    "seeds": "call finetune once for each seed, with seed=1, seed=2, ...",
    "jobs": "a call is one run",
    "folds": "`debft text --folds` runs them, each in a process of its own",
    **dict.fromkeys(OF_LAUNCH, "a call trains in the process of its caller; `debft --num-processes` starts others"),
    "dry_run": "`debft --dry-run` shows a plan",
    "as_json": "the result is returned; print(result.to_json())",
    "assignments": "give set={'train.adam_epsilon': 1e-6}",
}
# What others call some of the keywords, and no spelling comes near.
OTHER_NAMES = {
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "eval": "validation",
    "dev": "validation",
    "overrides": "set",
}
_NAMES = {option.typed: option.name for option in OPTIONS} | {"--set": "set", "--task": "task"}
_SWITCHES = {option.typed for option in OPTIONS if option.kind is bool}
# A flag at the beginning of a line has all up to the colon as its value, one in a sentence what cannot be a word of the sentence.
_FIRST = re.compile(r"(--[a-z][a-z-]*) (\S.*?)(?=: )")
_FLAG = re.compile(
    r"(?<![\w-])(--[a-z][a-z-]*)"
    r"(?: ([A-Z][A-Z_,/.]*(?![\w-])|[\w./-]*\d[\w./-]*|classification|regression|multilabel|demo)(?![\w=]))?"
)


def keys_of(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of keywords by the dotted key of the recipe that each sets; None leaves a key as it is.

    Raises InputError with one line for each keyword that the task does not have.
    """
    if not isinstance(task, str) or task not in TASKS:
        raise InputError(f"task: unknown task {shown(task)}{did_you_mean(str(task), TASKS)}")
    known = {option.name: option.key for option in options_of(task) if option.key and option.name not in ONLY_TYPED}
    others = ("train", "validation", "test", "recipe", "output", "resume", "restart", "overwrite", "sift", "set", "quiet")
    problems = [_unknown(name, [*known, *others]) for name in given if name not in known]
    if problems:
        raise InputError(*problems)
    return {known[name] or name: plain(value) for name, value in given.items() if value is not None}


def _unknown(name: str, known: Sequence[str]) -> str:
    if name in ONLY_TYPED:
        return f"{name}: is an option of the command line alone; {ONLY_TYPED[name]}"
    near = f"; did you mean '{OTHER_NAMES[name]}'?" if name in OTHER_NAMES else did_you_mean(name, known)
    return f"{name}: no such keyword{near if near.startswith('; did') else '; the options of `debft TASK --help` are the keywords'}"


def plain(value: Any) -> Any:
    """Return a value as an option has it: a path as text, names as `a,b`, weights of labels as `a=2,b=1`."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={weight}" for name, weight in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def path_of(name: str, value: Any) -> str:
    """Return a path that a caller gave, as text. Raises InputError for what is no path, and for one that no file can have."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text or has_half_surrogate(text):
        raise InputError(f"{name}: expected a name or path in UTF-8, got {shown(value)}")
    return text


def assignments_of(values: Mapping[str, Any] | None) -> list[str]:
    """Write `{"train.adam_epsilon": 1e-6}` as `--set` has it. Raises InputError for what is no mapping of keys to plain values."""
    if values is not None and not isinstance(values, Mapping):
        raise InputError(f"set: expected a mapping such as {{'train.adam_epsilon': 1e-6}}, got {values!r}")
    try:
        return [f"{key}={json.dumps(plain(value), allow_nan=False)}" for key, value in (values or {}).items()]
    except (TypeError, ValueError) as error:
        raise InputError(f"set: expected numbers, texts, True or False, got {values!r} ({error})") from None


@contextmanager
def told_by_keywords(places: Mapping[str, str] | None = None) -> Iterator[None]:
    """Within the block an InputError names keywords, `learning_rate`, where the command line has `--learning-rate`.

    places: what a caller calls a file that was written of rows, by its path; row 18 of it is `train[17]`
    """
    try:
        with failing_disk(), unusable_paths():
            yield
    except InputError as error:
        raise type(error)(*(by_keywords(problem, places or {}) for problem in error.problems)) from error.__cause__


def by_keywords(problem: str, places: Mapping[str, str]) -> str:
    """Write one line of an error as someone reads it who called a function."""
    for path, name in places.items():
        before, *others = re.split(rf"{re.escape(path)}(?::(\d+)(?=:))?", problem)
        pairs = zip(others[::2], others[1::2], strict=True)
        problem = before + "".join(f"{name}[{int(line) - 1}]{text}" if line else name + text for line, text in pairs)
    first = _FIRST.match(problem)
    start, rest = (_keyword(first), problem[first.end() :]) if first else ("", problem)
    parts = rest.split("`")  # each second one is a command as it is to be typed
    return start + "`".join(part if number % 2 else _FLAG.sub(_keyword, part) for number, part in enumerate(parts))


def _keyword(typed: re.Match[str]) -> str:
    """Write `--validation 0.1` as `validation=0.1`, `--model demo` as `model='demo'`, and `--model DIR` as `model=DIR`."""
    flag, value = typed.groups()
    name = _NAMES.get(flag, flag)
    if flag in _SWITCHES:
        return f"{name}=True" + (f" {value}" if value else "")
    if value is None or name == "set":
        return f"{name} {value}" if value else name
    is_plain = value.isupper() or re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value)
    return f"{name}={value if is_plain else repr(value)}"
