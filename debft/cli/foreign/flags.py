"""The flags of other programs (flags.yaml), and the line that answers one at a debft command."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from debft.config import yaml12
from debft.library.options import OPTIONS


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A flag of another program says what becomes of it here. Its fields are explained at the top of flags.yaml."""

    name: str
    does: Literal["key", "special", "nothing", "loss", "error"]
    takes: Literal["value", "switch", "list"] = "value"
    key: str | None = None
    option: str | None = None
    why: str = ""
    same: tuple[str, ...] = ()
    gone: str | None = None
    secret: bool = False

    @property
    def ours(self) -> str | None:
        """Return what is typed at debft instead: the named option, else that of the key; None where there is none."""
        if self.option or not self.key:
            return self.option
        typed = next((option for option in OPTIONS if option.key == self.key), None)
        if typed is None:
            return f"--set {self.key}={'true' if self.takes == 'switch' else '...'}"
        return typed.typed


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program whose command lines debft can import."""

    name: str
    """The script, `run_glue.py`, or the module behind `python -m`."""
    dialect: str
    """Whose defaults hold for what neither the command nor `defaults` gives."""
    defaults: Mapping[str, Any]
    """What the program does where the command says nothing, by the key of the recipe; `batch` is sequences per device."""
    flags: Mapping[str, Flag]
    """Its flags by their names, without dashes and with underscores."""


@cache
def table() -> dict[str, Any]:
    """Return the table as it stands in its file."""
    return yaml12.load(Path(__file__).with_name("flags.yaml"))


@cache
def section(name: str) -> dict[str, Flag]:
    """Return the flags of a section of the table by their names."""
    flags: dict[str, Flag] = {}
    for row in table()[name]:
        given = {key: value for key, value in row.items() if key != "flags"}
        given["does"] = given.get("does") or "key"
        given["same"] = tuple(given.get("same", ()))
        flags |= {flag: Flag(name=flag, **given) for flag in row["flags"]}
    return flags


@cache
def programs() -> dict[str, Program]:
    """Return the programs whose commands can be imported, by name."""
    known = {}
    for name, entry in table()["programs"].items():
        flags: dict[str, Flag] = {}
        for each in entry["sections"]:
            flags = section(each) | flags  # the first section that has a flag decides
        known[name] = Program(name=name, dialect=entry["dialect"], defaults=entry["defaults"], flags=flags)
    return known


def normalised(flag: str) -> str:
    """Return a typed flag as the table has it: `--per-device-train-batch-size=8` -> `per_device_train_batch_size`."""
    return flag.partition("=")[0].lstrip("-").replace("-", "_")


def foreign(typed: str) -> Flag | None:
    """Find a flag that someone typed at debft; None where no other program has it."""
    sections = ("elsewhere", "trainer", "model", "data", "classification", "xnli", "questions", "loop", "deberta")
    name = normalised(typed).lower()
    return next((section(each)[name] for each in sections if name in section(each)), None)


def answer(typed: str, known: Iterable[str]) -> str | None:
    """Return what is said of a foreign flag, `debft trains and evaluates always; ...`; None where nothing helps.

    known: the options of the command that it was typed at
    """
    flag = foreign(typed)
    if flag is None or (flag.ours and flag.ours.split()[0] not in set(known)):
        return None  # or what it is here is an option of other commands
    return f"debft's is {flag.ours}{', ' if flag.why else ''}{flag.why}" if flag.ours else flag.why
