"""The errors a user can cause, and the exit code each one ends the command with."""

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60  # characters
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxlevel = 3


class DebftError(Exception):
    """A DebftError ends a command without a traceback.

    `problems` holds one line per problem: where it is, what was expected, what was found and what to do.
    """

    exit_code = 1

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


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


def one_of(choices: Iterable[str]) -> str:
    """Write choices as `a, b, c` for an error line."""
    return ", ".join(choices)


def shown(value: object) -> str:
    """Write a value for an error line: its repr, cut where it is long."""
    return _SHORT.repr(value)


def first_line(error: BaseException) -> str:
    """The first line of another library's error, or the name of its type where it has no text."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Write `; did you mean 'x'?`, or the list of choices where none is close to the word."""
    choices = list(choices)
    close = get_close_matches(word, choices, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; expected one of {one_of(choices)}"
