"""The errors a user can cause, and the exit code each one ends the command with; and what no line that is shown may hold."""

import errno
import os
import re
import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60  # characters
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxlevel = 3
# What moves the cursor of a terminal, colours or renames it, and what turns the order of letters around.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
# What a disk, or the network to it, answers when it fails, whatever it was asked; other errors are about the question: no such file
DISK_FAILURES = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.ENXIO, errno.EINTR)
HIDDEN = "***"
LEAST_SECRET = 8  # characters; a shorter value of a variable is a word like any other
# Names of variables, and of keys, that hold secrets: HF_TOKEN, WANDB_API_KEY, AWS_SECRET_ACCESS_KEY, MLFLOW_TRACKING_PASSWORD.
SECRET_NAME = re.compile(r"(token|secret|passw(or)?d|(api|access|private)_?key(_id)?|credentials?)$", re.IGNORECASE)
# Tokens of the hub and of other services by their form, and user and password in an address.
_SECRETS = re.compile(r"\b((hf|gh[pousr])_|sk-(proj-)?|glpat-)[A-Za-z0-9_]{16,}|\bAKIA[0-9A-Z]{16}\b|(?<=://)[^/\s@]+@")


class DebftError(Exception):
    """A DebftError ends a command without a traceback.

    `problems` holds one line per problem: where it is, what was expected, what was found and what to do.
    """

    exit_code = 1

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(without_secrets(problem) for problem in problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it be sent to another process of the run, whatever it is made from."""
        return _as_it_was, (type(self), vars(self))


def _as_it_was(kind: type[DebftError], fields: dict[str, Any]) -> DebftError:
    error = kind.__new__(kind)
    vars(error).update(fields)
    error.args = ("\n".join(error.problems),)
    return error


class InputError(DebftError):
    """The user's input is wrong: an option, a recipe, a data file, a model directory."""

    exit_code = 2


class BadRowsError(InputError):
    """Rows of a data file are wrong; a run can leave them out."""


class HubError(InputError):
    """Something is needed from the hub, which cannot be reached."""


class NotFiniteError(DebftError):
    """The loss or the gradient is NaN or infinite; going on would only destroy the weights."""

    exit_code = 3


class MachineError(DebftError):
    """The machine failed: a full disk, too little memory, a process of the run lost. What could be saved has been saved."""

    exit_code = 5


class TooLittleMemoryError(MachineError):
    """The memory is not enough for a single sequence; there is nothing smaller to try."""


class Interrupted(DebftError):
    """SIGHUP, SIGINT or SIGTERM arrived. The exit code is 128 + its number, as shells have it."""

    def __init__(self, signal_number: int, *problems: str) -> None:
        super().__init__(*problems)
        self.exit_code = 128 + signal_number


def visible(text: str) -> str:
    """Write control characters as JSON does, `\\u001b`: a label or an id must not move, colour or rename somebody's terminal."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def has_half_surrogate(text: str) -> bool:
    """Tell whether a text holds half of a surrogate pair, which no encoding can write."""
    return not text.isascii() and _HALF_SURROGATE.search(text) is not None


def without_secrets(text: str) -> str:
    """Return a text without the values of variables that are named as secrets are, and without what has the form of one."""
    values = {value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= LEAST_SECRET}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _SECRETS.sub(HIDDEN, text)


def disk_failed(error: OSError) -> bool:
    """Return whether the disk failed, and not what users gave: a read-only place or a socket is their choice."""
    return error.errno in DISK_FAILURES and error.errno not in (errno.EROFS, errno.ENXIO)


def one_of(choices: Iterable[str]) -> str:
    """Write choices as `a, b, c` for an error line."""
    return ", ".join(choices)


def shown(value: object) -> str:
    """Write a value for an error line: its repr, cut where it is long."""
    return _SHORT.repr(value)


def first_line(error: BaseException) -> str:
    """The first line of another library's error, or the name of its type where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Write `; did you mean 'x'?`, or the list of choices where none is close to the word."""
    choices = list(choices)
    close = get_close_matches(word, choices, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; expected one of {one_of(choices)}"
