"""A label of the user's own data has one name, in whichever way files write it."""

import ast
import math
import re
import unicodedata
from typing import Any

SEVERAL = "; several labels in one row are not supported"
_WHOLE = re.compile(r"(-?[0-9]{1,16})\.0")
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
_LIST = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
LONGEST_LIST = 1000  # characters of a cell that may be a list


def label_name(value: object) -> str | None:
    """Return the name of a label, None for what is no label: 1, 1.0, "1" and "1.0" are one name, True is `true` as in JSON."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    name = str(value).strip()
    if not name or has_half_surrogate(name):
        return None
    return whole[1] if (whole := _WHOLE.fullmatch(name)) else name


def single(value: Any) -> Any:
    """Return the only label of a list, and anything else as it is; a list of several labels stays one, which is no label.

    Labelling programs write such lists; a table may hold one as text.
    """
    if isinstance(value, str) and len(value) <= LONGEST_LIST and _LIST.fullmatch(value):
        try:
            inside = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value  # [neg] is a name like any other
        value = inside if isinstance(inside, list) else value
    return value[0] if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], (list, dict)) else value


def looks(name: str) -> str:
    """Return what a reader sees of a name: Unicode's forms, kinds of spaces and characters without width make no difference."""
    spaced = (" " if character.isspace() else character for character in unicodedata.normalize("NFC", name))
    return " ".join("".join(character for character in spaced if not _has_no_width(character)).split())


def _has_no_width(character: str) -> bool:
    """Tell controls, joiners, marks of direction or byte order, and what chooses between two drawings of a character."""
    return unicodedata.category(character) in ("Cc", "Cf") or "\ufe00" <= character <= "\ufe0f"


def has_half_surrogate(text: str) -> bool:
    """Tell whether a text holds half of a surrogate pair, which no encoding can write."""
    return not text.isascii() and _HALF_SURROGATE.search(text) is not None
