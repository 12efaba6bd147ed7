"""The options of the task commands as Typer takes them, and the check of every name or path that a command is given."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from debft.errors import InputError, has_half_surrogate, shown
from debft.library.options import Option


def parameter_of(option: Option) -> inspect.Parameter:
    """Make the parameter from which Typer makes the option."""
    typed = typer.Option(
        option.flag,
        help=option.help,
        rich_help_panel=option.panel,
        show_default=False,
        min=option.least,
        max=option.most,
        callback=name_or_path if option.is_path else None,
    )
    kind = option.kind if option.default is not None else option.kind | None
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=Annotated[kind, typed])


def name_or_path(parameter: typer.CallbackParam, value: Any) -> Any:
    """Return what was typed for an option or argument that names something. Raises InputError where a name is empty or no text."""
    for text in value if isinstance(value, list | tuple) else (value,):
        if text is None or (str(text).strip() and not has_half_surrogate(str(text))):
            continue
        typed = next((word for word in parameter.opts if word.startswith("--")), parameter.metavar or parameter.name)
        if not str(text).strip():
            raise InputError(f"{typed}: expected a name or path, got '{text}'")
        raise InputError(f"{typed}: expected a name or path in UTF-8, which files and logs can hold, got {shown(text)}; rename it")
    return value


def check_new(option: str, path: str | None) -> None:
    """Raise InputError for a file that is there already: nobody asked to replace it. option: the one that names the file"""
    if path is not None and Path(path).exists():
        raise InputError(f"{option} {path}: is there already; remove it, or choose another name")


def command_with(options: Sequence[Option], do: Callable[..., None], *arguments: inspect.Parameter) -> Callable[..., None]:
    """Make a command with these options for Typer, which has the name and the first line of `do`.

    It calls `do` with the typed keys of the recipe and with all else that may be typed.
    arguments: what is typed without a flag, as Typer takes it
    """
    others = [*(argument.name for argument in arguments), *(option.name for option in options if not option.key)]

    def command(**typed: Any) -> None:
        keys = {option.key: typed[option.name] for option in options if option.key and typed[option.name] is not None}
        do(keys, **{name: typed[name] for name in others})

    signature = inspect.Signature([*arguments, *(parameter_of(option) for option in options)])
    command.__name__, command.__doc__ = do.__name__, do.__doc__
    command.__signature__ = signature  # type: ignore[attr-defined]  # what `inspect` asks a function for, Typer through it
    return command
