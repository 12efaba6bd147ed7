"""Two rows have the same texts where nothing tells them apart but case, spaces and the way that an accent is encoded."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from string import ascii_lowercase, ascii_uppercase
from unicodedata import normalize

import numpy as np

from debft.data.stored import chosen

Texts = tuple[str, ...]  # of a row, one or two
Twins = np.ndarray  # the numbers of two rows, (M, 2) int64
SPACES = b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"  # those in ASCII at which `str.split` parts a text
LOWER = bytes.maketrans(ascii_uppercase.encode(), ascii_lowercase.encode())


def normalised(texts: Texts) -> Texts:
    """Return the texts of a row as they are compared: composed (NFC), with single spaces, in one case."""
    return tuple(" ".join((text if text.isascii() else normalize("NFC", text)).split()).casefold() for text in texts)


def same_rows(known: Sequence[Texts], others: Mapping[str, Sequence[Texts]]) -> tuple[Twins, dict[str, Twins]]:
    """Return (row, the first known row with its texts) of the known rows that are not the first themselves, and of the others.

    A million rows take about two seconds: only those that are the same without any spaces are compared in earnest. Of each row a
    number is in memory, of those that are compared 16 bytes.
    """
    rough, rough_others = _rough_numbers(known), {name: _rough_numbers(rows) for name, rows in others.items()}
    again = _again(rough, rough_others.values())
    rows_of = {name: np.flatnonzero(_is_in(numbers, again)) for name, numbers in rough_others.items()}
    known_rows = np.flatnonzero(_is_in(rough, again))
    parts = [(known, known_rows), *((others[name], rows) for name, rows in rows_of.items())]
    order, begins = grouped(digests((normalised(texts) for rows, some in parts for texts in chosen(rows, some)), function=blake2b))
    first = np.empty(len(order), np.int64)  # of all with the same texts, the place of the first: a known one, where there is one
    first[order] = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
    edges = np.cumsum([len(rows) for _, rows in parts])[:-1]
    repeated, *twins = (_twins(rows, at, known_rows) for (_, rows), at in zip(parts, np.split(first, edges), strict=True))
    return repeated[repeated[:, 0] != repeated[:, 1]], dict(zip(others, twins, strict=True))


def _twins(rows: np.ndarray, first: np.ndarray, known_rows: np.ndarray) -> Twins:
    """Return those of the rows that a known row is the first of, with that one."""
    has_one = first < len(known_rows)
    return np.stack([rows[has_one], known_rows[first[has_one]]], axis=1)


def digests(rows: Iterable[Texts], *before: str, function: Callable = sha256) -> np.ndarray:
    """Return the first 16 bytes of a digest of each row's normalised texts, which differ where these do, as (N, 2) uint64.

    before: what is digested in front of them
    """
    content = bytearray()
    for texts in rows:
        content += function("\x1f".join((*before, *texts)).encode("utf-8", "surrogatepass")).digest()[:16]
    return np.frombuffer(content, ">u8").astype(np.uint64).reshape(-1, 2)


def grouped(digests_N2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows by their digests, (N,), equal ones in their order, and where each of the groups of equal ones begins."""
    order = np.lexsort((digests_N2[:, 1], digests_N2[:, 0]))
    if not len(order):
        return order, order
    is_other = np.zeros(len(order), dtype=bool)
    is_other[0] = True
    for column in digests_N2.T:
        is_other[1:] |= np.diff(column[order]) != 0
    return order, np.flatnonzero(is_other)


def _again(numbers: np.ndarray, others: Iterable[np.ndarray]) -> np.ndarray:
    """Return the numbers that come more than once among the first ones, or there and among the others, rising."""
    ordered = np.sort(numbers)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.unique(np.concatenate([twice, *(some[_is_in(some, ordered)] for some in others)]))


def _is_in(numbers: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Tell which numbers are among those that rise."""
    if not len(ordered):
        return np.zeros(len(numbers), dtype=bool)
    return ordered[np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)] == numbers


def _rough_numbers(rows: Sequence[Texts]) -> np.ndarray:
    return np.fromiter(map(_rough, rows), np.int64, len(rows))


def _rough(texts: Texts) -> int:
    """Return a number for the texts of a row that the same texts have, and few others."""
    joined = "|".join(texts)
    if joined.isascii():
        return hash(joined.encode().translate(LOWER, SPACES))
    return hash("".join(normalize("NFC", joined).casefold().split()).encode("utf-8", "surrogatepass"))
