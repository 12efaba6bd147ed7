"""A label of the user's own data has one name, in whichever way files write it."""

import ast
import math
import re
import unicodedata
from typing import Any

from debft.errors import has_half_surrogate

SEVERAL = "; rows of several labels take --problem multilabel"
NO_LABEL = "; rows without a label take --problem multilabel"
UNSEEN = "; the training rows have no such label"
LABELS_SHOWN = 12
_WHOLE = re.compile(r"(-?[0-9]{1,16})\.0")
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


def some_of(labels: tuple[str, ...]) -> str:
    """Return the first labels for an error line."""
    return ", ".join(labels[:LABELS_SHOWN]) + (", ..." if len(labels) > LABELS_SHOWN else "")


def in_order(names: set[str]) -> tuple[str, ...]:
    """Return the names of labels in one order: whole numbers in theirs, other names in that of the alphabet."""
    whole = all(re.fullmatch("-?[0-9]{1,18}", name) for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name)) if whole else sorted(names))


def single(value: Any) -> Any:
    """Return the only label of a list, and anything else as it is; a list of several labels stays one, which is no label.

    Labelling programs write such lists; a table may hold one as text.
    """
    value = listed(value)
    return value[0] if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], (list, dict)) else value


def listed(value: Any) -> Any:
    """Return the list that a cell holds as text, and anything else as it is."""
    if isinstance(value, str) and len(value) <= LONGEST_LIST and _LIST.fullmatch(value):
        try:
            inside = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return value  # [neg] is a name like any other, [{{1}}] no list that Python can make
        return inside if isinstance(inside, list) else value
    return value


def looks(name: str) -> str:
    """Return what a reader sees of a name: Unicode's forms, kinds of spaces and characters without width make no difference."""
    spaced = (" " if character.isspace() else character for character in unicodedata.normalize("NFC", name))
    return " ".join("".join(character for character in spaced if not _has_no_width(character)).split())


def is_blank(text: str) -> bool:
    """Tell a text of which a reader sees nothing: spaces, and characters without width."""
    return all(character.isspace() or _has_no_width(character) for character in text)


def look_alike(labels: tuple[str, ...]) -> tuple[str, str] | None:
    """Return two names that look the same to a reader, None where there are none."""
    seen: dict[str, str] = {}
    return next(((other, name) for name in labels if (other := seen.setdefault(looks(name), name)) != name), None)


def _has_no_width(character: str) -> bool:
    """Tell controls, joiners, marks of direction or byte order, and what chooses between two drawings of a character."""
    return unicodedata.category(character) in ("Cc", "Cf") or "\ufe00" <= character <= "\ufe0f"
