"""JSON becomes dataclasses: every value is checked against the type of its field, and an error names the place of a wrong one."""

import json
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeGuard

from debft.config.reading import is_finite_number
from debft.errors import has_half_surrogate, one_of, shown

LARGEST = 1e100  # of a score or a number in a log, far beyond float32; the sum of larger ones may leave the numbers of Python
MOST_LEVELS = 100  # of lists and objects within each other; Python reads ten times as many, and then copies or writes fewer
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def json_of(text: str, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Return the content of JSON that can be copied and written again.

    parse_constant: as of json.loads
    Raises ValueError for no JSON, half of a surrogate pair, and more than MOST_LEVELS levels.
    """
    try:
        content = json.loads(text, parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [content]
    for _ in range(MOST_LEVELS):
        inside = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [part for parts in inside for part in parts]
    if level:
        raise ValueError("it is nested too deeply")
    if has_half_surrogate(text) or (
        _ESCAPED_SURROGATE.search(text) and has_half_surrogate(json.dumps(content, ensure_ascii=False))
    ):
        raise ValueError("it holds half of a surrogate pair")
    return content


def read_as(value: Any, kind: Any, place: str) -> Any:
    """Return a JSON value as the type `kind`. Raises ValueError, with the place, where it is none."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _read_record(value, kind, place)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in arguments:
        (kind,) = (part for part in arguments if part is not type(None))
        return None if value is None else read_as(value, kind, place)
    if origin is dict and isinstance(value, dict):
        return {name: read_as(item, arguments[1], f"{place}.{name}") for name, item in value.items()}
    if origin in (list, tuple) and isinstance(value, list):  # a tuple of any length, `tuple[str, ...]`
        return origin(read_as(item, arguments[0], f"{place}[{number}]") for number, item in enumerate(value))
    if not (value in arguments if origin is Literal else kind in _FITS and _FITS[kind](value)):
        expected = one_of(map(str, arguments)) if origin is Literal else _WORDS[origin or kind]
        raise ValueError(f"{place}: expected {expected}, got {shown(value)}")
    return value


def _read_record(value: Any, kind: type, place: str) -> Any:
    """Return a JSON object as the dataclass `kind`. Only a field without a default must be there."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{place}: expected an object, got {shown(value)}")
    hints = typing.get_type_hints(kind)
    missing = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING and f.name not in value]
    if missing:
        raise ValueError(f"{'.'.join(filter(None, (place, missing[0])))}: is missing")
    return kind(
        **{
            f.name: read_as(value[f.name], hints[f.name], f"{place}.{f.name}".removeprefix("."))
            for f in fields(kind)
            if f.name in value
        }
    )


def is_whole(value: Any) -> TypeGuard[int]:
    """Tell whether a value is a whole number, which `true` is not."""
    return isinstance(value, int) and not isinstance(value, bool)


_FITS: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: is_whole,
    float: is_finite_number,
    str: lambda value: isinstance(value, str),
    Any: lambda value: True,
}
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    dict: "an object",
    list: "a list",
    tuple: "a list",
}
