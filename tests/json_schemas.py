"""A reader of JSON schemas that knows what is used of draft 7 here, for the tests."""

from collections.abc import Mapping
from typing import Any

KINDS = {"object": Mapping, "array": list, "string": str, "boolean": bool, "null": type(None)}
READ = {
    "$schema",
    "title",
    "description",
    "default",
    "type",
    "enum",
    "anyOf",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "minimum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "maximum",
}


def is_a(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and (kind == "number" or value == int(value))
    return isinstance(value, KINDS[kind])


def wrong(value: Any, rule: dict[str, Any], place: str = "") -> list[str]:
    """The places at which a value is not what the schema asks for."""
    assert rule.keys() <= READ
    if "type" in rule:
        kinds = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
        if not any(is_a(value, kind) for kind in kinds):
            return [place]
    problems = [place] if "enum" in rule and value not in rule["enum"] else []
    problems += [place] if "anyOf" in rule and all(wrong(value, each) for each in rule["anyOf"]) else []
    if is_a(value, "number"):
        outside = (
            value < rule.get("minimum", value),
            value <= rule.get("exclusiveMinimum", value - 1),
            value >= rule.get("exclusiveMaximum", value + 1),
            value > rule.get("maximum", value),
        )
        problems += [place] if any(outside) else []
    if isinstance(value, Mapping):
        known, others = rule.get("properties", {}), rule.get("additionalProperties", {})
        problems += [f"{place}.{key}" for key in rule.get("required", ()) if key not in value]
        for key, item in value.items():
            of_key = known.get(key, others)
            problems += [f"{place}.{key}"] if of_key is False else wrong(item, of_key, f"{place}.{key}")
    if isinstance(value, list):
        problems += [place] if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)) else []
        items = rule.get("items", {})
        rules = items if isinstance(items, list) else [items] * len(value)
        problems += [problem for item, each in zip(value, rules, strict=False) for problem in wrong(item, each, f"{place}[]")]
    return problems
