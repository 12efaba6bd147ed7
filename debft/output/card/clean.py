"""What leaves the machine is cleaned: no path, user or host name of it stays in a recipe, a result or a configuration.

A value that names a local file or directory becomes LOCAL, wherever it stands. Nothing is guessed about texts of rows: files that
hold some are not pushed at all.
"""

import contextlib
import getpass
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debft.data.sources import demo
from debft.errors import InputError
from debft.models.names import MODELS
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult

LOCAL = "(local path, taken out)"
REMOVED = "(taken out)"
_ABSOLUTE = re.compile(r"(?<![\w:/.\\>-])(?:~|[A-Za-z]:)?[/\\][\w.@+-]+(?:[/\\][\w.@+-]+)+")
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?")
_SHORTEST_NAME = 3  # characters of a name of a user or a machine that is looked for


@dataclass(frozen=True, kw_only=True)
class Cleaner:
    """A cleaner knows what names this machine and its files.

    paths: names of local files and directories, as typed, in full, and their last parts
    names: names of the user and of the machine
    """

    paths: tuple[str, ...]
    names: tuple[str, ...]

    def text(self, text: str) -> str:
        """Return a text without what names the machine.

        A single word or an id of the hub is no sentence about a user: `card` stays a dialect where the user is called card.
        """
        for path in self.paths:
            bare = path.isidentifier()  # such as `data`, which is a word of many sentences
            text = (LOCAL if text == path else text) if bare else text.replace(path, LOCAL)
        text = _ABSOLUTE.sub(LOCAL, text)
        for name in () if _HUB_ID.fullmatch(text) else self.names:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", REMOVED, text)
        return text

    def value(self, value: Any) -> Any:
        """Return plain data with every text in it cleaned. Keys are names of our own or of the task, and stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        return [self.value(item) for item in value] if isinstance(value, list) else value

    def check(self, name: str, content: bytes) -> None:
        """Raise InputError where a file that is to be pushed still holds a full path of this machine."""
        text = content.decode("utf-8", "replace")
        for path in self.paths:
            if path.count(os.sep) > 1 and path in text:
                raise InputError(f"{name}: expected a file without paths of this machine, got one with {path}; take it out there")


def cleaner_of(run: RunDirectory, result: RunResult) -> Cleaner:
    """Return the cleaner of a run: its directory, its data and models, where they are local."""
    recipe, own = result.recipe, result.recipe.get("own") or {}
    typed = [recipe.get("data"), recipe.get("init_from"), recipe.get("starts_from"), own.get("validation"), own.get("test")]
    local = [value for value in typed if isinstance(value, str) and is_local(value)]
    local += [model for model in (result.model, recipe.get("model")) if isinstance(model, str) and is_local(model)]
    local += [path] if isinstance(path := run.split().get("path"), str) else []
    known = {spelling for value in local for spelling in (value, str(Path(value).absolute()), str(Path(value).resolve()))}
    known |= {Path(value).name for value in known if len(Path(value).name) > _SHORTEST_NAME}
    known |= {str(run.path.absolute()), str(run.path.resolve()), str(Path.cwd()), str(_home())}
    return Cleaner(paths=_longest_first(path for path in known if len(path.strip("./\\~")) > 1), names=_longest_first(_names()))


def is_local(value: str) -> bool:
    """Whether a value of a recipe names a file or directory of this machine, and not demo data, an alias or an id of the hub."""
    if value in ("hub", "demo", demo.MODEL_NAME, *MODELS):
        return False
    return Path(value).exists() or value.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(value) or "/" not in value


def _names() -> set[str]:
    """Return the names of the user and of the machine. That of an administrator, `root`, says nothing."""
    host = socket.gethostname()
    names = {host, host.partition(".")[0], _home().name}
    with contextlib.suppress(KeyError, OSError):  # a user without an entry has no name to take out
        names.add(getpass.getuser())
    return {name for name in names if len(name) >= _SHORTEST_NAME and name not in ("root", "localhost")}


def _home() -> Path:
    """Return the directory of the user, `~` where the system knows none."""
    return Path(os.path.expanduser("~"))


def _longest_first(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts), key=lambda text: (-len(text), text)))
