"""This module makes JSON schemas of frozen dataclasses: what a field may be, with the text below it as its description.

    @dataclass(frozen=True, kw_only=True)
    class Timing:
        \"\"\"A timing says how long a run took.\"\"\"

        train_seconds: float = bounded(least=0)
        \"\"\"Seconds of the training alone.\"\"\"

    schema(Timing)["properties"]["train_seconds"]
    # {"type": "number", "minimum": 0, "description": "Seconds of the training alone."}

The text stands below the field, and not in the field's metadata, so that editors show it where the field is used and a field is
read without its call. Only `descriptions` knows how to find it.
"""

import ast
import inspect
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest one that editors know whole
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string", type(None): "null"}
_BOUNDS = {
    "above": "exclusiveMinimum",
    "least": "minimum",
    "below": "exclusiveMaximum",
    "most": "maximum",
}  # by the keywords of `recipe.bounded`


def schema(kind: type, *, closed: bool = True) -> dict[str, Any]:
    """Make the JSON schema of the files that hold a `kind`, a dataclass, as `dataclasses.asdict` writes it.

    A field without a default must be given. Fields may be bool, int, float, str, Path, None, Any, Literal, other dataclasses, and
    unions, lists, tuples and mappings from text of these; a dataclass must not hold itself.

    closed: whether a key that is no field is an error, in dataclasses within as well. A recipe is closed, since its keys are typed
    by people; a file that a newer version may have added to is not.
    """
    return {"$schema": DRAFT, "title": kind.__name__} | _object(kind, closed)


def descriptions(kind: type) -> dict[str, str]:
    """Find the text below each field of a dataclass, in one line; a field without one is left out."""
    texts = {}
    for each in reversed(kind.__mro__):
        if is_dataclass(each):
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            assert isinstance(definition, ast.ClassDef)  # a dataclass is written as a class
            for before, node in zip(definition.body, definition.body[1:], strict=False):
                if not (isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)):
                    continue
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                    texts[before.target.id] = " ".join(str(node.value.value).split())
    return texts


def _object(kind: type, closed: bool) -> dict[str, Any]:
    hints, texts = typing.get_type_hints(kind), descriptions(kind)
    properties = {f.name: _property(f, hints[f.name], texts.get(f.name), closed) for f in fields(kind)}
    required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    return {
        "type": "object",
        "description": inspect.cleandoc(kind.__doc__ or ""),
        "properties": properties,
        **({"required": required} if required else {}),
        **({"additionalProperties": False} if closed else {}),
    }


def _property(field: Field, hint: Any, text: str | None, closed: bool) -> dict[str, Any]:
    rule = _of_type(hint, closed)
    rule |= {_BOUNDS[name]: bound for name, bound in field.metadata.items() if name in _BOUNDS and bound is not None}
    if field.default is not MISSING and not is_dataclass(field.default):
        rule["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
    return rule | ({"description": text} if text else {})


def _of_type(hint: Any, closed: bool) -> dict[str, Any]:
    """Make the schema of one type. Raises TypeError for one that JSON has no form for."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint, closed)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (types.UnionType, typing.Union):
        return _union([_of_type(each, closed) for each in arguments])
    if origin is tuple and arguments[-1] is not Ellipsis:
        items = [_of_type(each, closed) for each in arguments]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (list, tuple, Sequence):
        return {"type": "array", "items": _of_type(arguments[0], closed)}
    if origin in (dict, Mapping) and arguments[0] is str:
        return {"type": "object", "additionalProperties": _of_type(arguments[1], closed)}
    raise TypeError(f"no JSON schema for {hint}")


def _union(of: list[dict[str, Any]]) -> dict[str, Any]:
    """Make one list of plain types, or of choices and null, and `anyOf` of the others."""
    if all(each.keys() == {"type"} for each in of):
        return {"type": [each["type"] for each in of]}
    choices = [each.get("enum", [None] if each == {"type": "null"} else None) for each in of]
    known = [each for each in choices if each is not None]
    if len(known) == len(choices):
        return {"enum": [value for each in known for value in each]}
    return {"anyOf": of}
