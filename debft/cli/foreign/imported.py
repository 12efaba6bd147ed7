"""The words behind a program of another project: its flags are read as its own parser reads them, and those that stand for
themselves become keys of a recipe, or a note that says why not. What several flags make together is in special.py."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from debft.cli.foreign.flags import Flag, Program, normalised
from debft.cli.foreign.shell_text import Script
from debft.errors import InputError, shown
from debft.output.recipes import number

TRUE, FALSE = ("true", "t", "1", "yes", "y"), ("false", "f", "0", "no", "n")  # Source: transformers hf_argparser.string_to_bool
TEXTS = (
    "own.text_columns",
    "own.label_column",
    "languages.train_language",
)  # keys that are text, even where it looks like a number


@dataclass(frozen=True, kw_only=True)
class Note:
    """A note tells what became of a flag, or of something that the program does by itself."""

    kind: str
    """`set` (a key of the recipe), `default` (the program's, made explicit), `gone`, `unused`, `lost` or `say` (to know)."""
    what: str
    """The flag as it was typed, without a secret value."""
    text: str
    """What became of it, and why."""

    def line(self) -> str:
        """Return the note as one line."""
        return f"{self.what}: {self.text}" if self.what else self.text


@dataclass(kw_only=True)
class Imported:
    """What has been found so far; `values` by the dotted key of the recipe."""

    program: Program
    values: dict[str, Any] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)
    """What was typed for a key, for error lines and comments."""
    notes: list[Note] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, typed: str, text: str = "") -> None:
        """Set a key of the recipe, and say so."""
        self.values[key], self.typed[key] = value, typed.split()[0] if typed.startswith("--") else typed
        self.notes.append(Note(kind="set", what=typed, text=f"{key} {number(value)}{f'; {text}' if text else ''}"))

    def note(self, kind: str, what: str, text: str) -> None:
        self.notes.append(Note(kind=kind, what=what, text=text))


@dataclass(frozen=True, kw_only=True)
class Typed:
    """A flag of the command with what was typed behind it."""

    flag: Flag
    values: tuple[str, ...]

    def shown(self) -> str:
        """Return it as it was typed; a secret keeps its value to itself."""
        value = "" if self.flag.secret else " ".join(self.values)
        return f"--{self.flag.name} {value}".strip()

    def number(self, key: str) -> Any:
        """Return the value as a key of the recipe takes it."""
        return ",".join(self.values) if key in TEXTS else parsed(self.values[0])

    def is_on(self) -> bool:
        """Tell whether a switch is on."""
        return not self.values or self.values[0].lower() in TRUE


def read_flags(words: Sequence[str], found: Imported, script: Script) -> dict[str, Typed]:
    """Read the words behind a program, and take over the flags that stand for themselves.

    Raises InputError with a line for everything that cannot be read.
    """
    given = _given(words, found, script)
    for typed in given.values():
        _take(typed, found)
    if found.problems:
        raise InputError(*found.problems)
    return given


def _given(words: Sequence[str], found: Imported, script: Script) -> dict[str, Typed]:
    """Read the words behind the program as its parser would: `--flag value`, `--flag=value`, a flag's beginning for the flag."""
    given: dict[str, Typed] = {}
    position = 0
    while position < len(words):
        word, position = words[position], position + 1
        behind = []
        while position < len(words) and not words[position].startswith("--"):
            behind.append(words[position])
            position += 1
        if not word.startswith("--"):
            found.problems.append(
                f"{call_word(word, script)}: expected an option of {found.program.name}, got a word; take it away"
            )
            continue
        name, equals, value = word.partition("=")
        flag = _flag(name, found)
        if flag is None:
            continue
        values = ([value] if equals else []) + [each for each in behind if each]
        if problem := _misfit(flag, values, script):
            found.problems.append(problem)
            continue
        if flag.name in given:
            found.note("say", f"--{flag.name}", "stands twice; the last one counts, as there")
        given[flag.name] = Typed(flag=flag, values=tuple("..." if script.unknown_in(each) else each for each in values))
    return given


def call_word(word: str, script: Script) -> str:
    """Return a word for an error line; what only a shell knows in its own words."""
    unknown = script.unknown_in(word)
    return unknown[0] if unknown else shown(word)


def _flag(typed: str, found: Imported) -> Flag | None:
    """Find a flag by its name or by a beginning that no other flag has, as argparse does. An unknown one is a problem."""
    flags, name = found.program.flags, normalised(typed)
    if name in flags:
        return flags[name]
    if name.startswith("no_") and name[3:] in flags and flags[name[3:]].takes == "switch":
        return flags[name[3:]]
    begun = [flag for flag in flags if flag.startswith(name)]
    if len(begun) == 1 or (begun and len({flags[flag].key or flag for flag in begun}) == 1):
        found.note("say", f"--{name}", f"short for --{begun[0]}")
        return flags[begun[0]]
    close = begun or get_close_matches(name, flags, n=1, cutoff=0.8)
    near = f"; did you mean {' or '.join(f'--{flag}' for flag in close)}?" if close else ""
    found.problems.append(f"--{name}: no flag of {found.program.name} that debft knows{near}; take it away to import the rest")
    return None


def _misfit(flag: Flag, values: list[str], script: Script) -> str | None:
    """Say what is wrong with the number of values of a flag, or with one that only a shell knows."""
    if flag.does == "nothing":
        return None
    if flag.takes == "switch" and values and values[0].lower() not in TRUE + FALSE:
        return f"--{flag.name}: expected true or false, got {shown(values[0])}"
    unknown = [what for value in values for what in script.unknown_in(value)]
    if unknown and flag.name != "output_dir":  # which is no part of the recipe
        return f"--{flag.name}: {unknown[0]}; write its value in the command, or set it on a line before"
    if flag.takes == "value" and len(values) != 1:
        return f"--{flag.name}: expected one value, got {len(values) or 'none'}"
    return None


def _take(typed: Typed, found: Imported) -> None:
    """Take over a flag that stands for itself; those of `does: special` are left to special.py."""
    flag = typed.flag
    as_asked = (not typed.is_on() if flag.takes == "switch" else False) or (
        typed.values[:1] and typed.values[0].lower() in flag.same
    )
    ours = f"debft's is {flag.ours}, " if flag.ours and flag.does in ("nothing", "loss") else ""
    if flag.does == "key":
        found.put(flag.key or "", typed.is_on() if flag.takes == "switch" else typed.number(flag.key or ""), typed.shown())
    elif flag.does == "nothing" or (flag.does in ("loss", "error") and as_asked):
        text = f"{ours}{flag.why}" if flag.does == "nothing" else "as debft does it"
        found.note("gone" if flag.gone else "unused", typed.shown(), f"{text}{f' (gone in {flag.gone})' if flag.gone else ''}")
    elif flag.does == "loss":
        found.note("lost", typed.shown(), f"{ours}{flag.why}")
    elif flag.does == "error":
        found.problems.append(f"{typed.shown()}: {flag.why}; take it away to import the rest")


def whole(text: str) -> int | None:
    """Return a typed whole number, None for anything else: of other scripts, signs, or more digits than any count has."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def parsed(text: str) -> int | float | str:
    """Return a typed value as argparse reads numbers; what is no finite one stays text, for the recipe's checks to name."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def first_value(given: dict[str, Typed], *names: str) -> tuple[str, str] | None:
    """Return (what was typed, value) of the first of these flags that is given with a value."""
    for name in names:
        if name in given and given[name].values:
            return given[name].shown(), given[name].values[0]
    return None
