"""Two rows have the same texts where nothing tells them apart but case, spaces and the way that an accent is encoded."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from string import ascii_lowercase, ascii_uppercase
from unicodedata import normalize

Texts = tuple[str, ...]  # of a row, one or two
Twins = list[tuple[int, int]]  # the numbers of two rows
SPACES = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"  # those in ASCII at which `str.split` parts a text
LOWER = bytes.maketrans(ascii_uppercase.encode(), ascii_lowercase.encode())


def normalised(texts: Texts) -> Texts:
    """Return the texts of a row as they are compared: composed (NFC), with single spaces, in one case."""
    return tuple(" ".join((text if text.isascii() else normalize("NFC", text)).split()).casefold() for text in texts)


def same_rows(known: Sequence[Texts], others: Mapping[str, Sequence[Texts]]) -> tuple[Twins, dict[str, Twins]]:
    """Return (row, the first known row with its texts) of the known rows that are not the first themselves, and of the others.

    A million rows take about two seconds: only those that are the same without any spaces are compared in earnest.
    """
    rough, rough_others = list(map(_rough, known)), {name: list(map(_rough, rows)) for name, rows in others.items()}
    met, again = set(rough), _again(rough)
    again |= met.intersection(chain.from_iterable(rough_others.values()))
    first: dict[Texts, int] = {}
    repeated = []
    for row, texts in _exact(known, rough, again):
        if (earlier := first.setdefault(texts, row)) != row:
            repeated.append((row, earlier))
    found = {
        name: [(row, first[texts]) for row, texts in _exact(rows, rough_others[name], again) if texts in first]
        for name, rows in others.items()
    }
    return repeated, found


def _again(numbers: Iterable[int]) -> set[int]:
    """Return the numbers that come more than once."""
    return {number for number, times in Counter(numbers).items() if times > 1}


def _exact(rows: Sequence[Texts], rough: Sequence[int], again: set[int]) -> Iterable[tuple[int, Texts]]:
    return ((row, normalised(rows[row])) for row, number in enumerate(rough) if number in again)


def _rough(texts: Texts) -> int:
    """Return a number for the texts of a row that the same texts have, and few others."""
    joined = "|".join(texts)
    if joined.isascii():
        return hash(joined.encode().translate(LOWER, SPACES))
    return hash("".join(normalize("NFC", joined).casefold().split()).encode("utf-8", "surrogatepass"))
