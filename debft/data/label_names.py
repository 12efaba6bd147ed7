"""What a label of own data is called: one name for every way in which files write the same label."""

import ast
import math
import re
import unicodedata
from typing import Any

SEVERAL = "; several labels in one row are not supported"
_WHOLE = re.compile(r"(-?[0-9]{1,16})\.0")
_LIST = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
LONGEST_LIST = 1000  # characters of a cell that may be a list


def label_name(value: object) -> str | None:
    """A label of own data as a name: 1, 1.0, "1" and "1.0" are the same, True is `true` as in JSON; None for what is no label."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    name = str(value).strip()
    if not name or has_half_surrogate(name):
        return None
    return whole[1] if (whole := _WHOLE.fullmatch(name)) else name


def single(value: Any) -> Any:
    """The one label of a list, as labelling programs write it, also where a table holds the list as text; anything else as it is.

    A list of several labels stays a list, which is no label.
    """
    if isinstance(value, str) and len(value) <= LONGEST_LIST and _LIST.fullmatch(value):
        try:
            inside = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value  # [neg] is a name like any other
        value = inside if isinstance(inside, list) else value
    return value[0] if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], (list, dict)) else value


def looks(name: str) -> str:
    """What a reader sees of a name: without Unicode's forms, characters that have no width, and kinds of spaces."""
    spaced = (" " if character.isspace() else character for character in unicodedata.normalize("NFC", name))
    return " ".join("".join(character for character in spaced if not _has_no_width(character)).split())


def _has_no_width(character: str) -> bool:
    """Controls, joiners, marks of direction or byte order, and what chooses between two drawings of a character."""
    return unicodedata.category(character) in ("Cc", "Cf") or "\ufe00" <= character <= "\ufe0f"


def has_half_surrogate(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which no encoding can write."""
    return not text.isascii() and any(0xD800 <= ord(c) < 0xE000 for c in text)
