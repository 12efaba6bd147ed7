"""Rows that are nearly the same are found among many, without comparing each with each: by MinHash, then exactly.

Two rows are nearly the same where, of all the words and pairs of neighbouring words that either has, both have 70 %: one word in
ten may be another one. Of a pair, both texts must share so much. Rows that do have the same smallest hash of their words, for most
hash functions; those that agree in all of a band of such are compared. Rows that share 70 % are found with a probability of 99.7 %,
those that share 80 %, of 99.999 %.
Source: A. Broder, On the Resemblance and Containment of Documents, 1997; the bands: A. Rajaraman and J. Ullman, Mining of Massive
Datasets, section 3.4.

Legend: R rows, K texts of a row, S words and pairs of words of all of them, end to end.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from debft.data.examples import Examples
from debft.data.same_texts import normalised
from debft.data.sources.text_columns import UNPARTED
from debft.runtime.progress import meter

LEAST_SHARED = 0.7
BANDS, IN_BAND = 32, 5  # 1 - (1 - 0.7 ** 5) ** 32 = 0.997
MOST_COMPARED = 100  # training rows that a row is compared with in a band
AT_ONCE = 2**16  # S that are hashed at a time, which stay in the cache of the processor
SEED = 42  # of the hash functions
WORD = re.compile(f"[{UNPARTED}]|[^\\W{UNPARTED}]+")  # scripts that do not part their words: each character


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """What was found for the rows of a split.

    twins: (row, training row) of each row that a training row is nearly the same as
    unsure: how many of the other rows agree in a band with more training rows than they were compared with
    """

    twins: list[tuple[int, int]]
    unsure: int


def near_duplicates(train: Examples, evals: Mapping[str, Examples]) -> dict[str, NearDuplicates]:
    """Find the rows of each eval split that are nearly the same as a training row, which may be the very same."""
    numbers: dict[str, int] = {}
    known = _Shingles.of(train, numbers)
    asked = [_Shingles.of(rows, numbers) for rows in evals.values()]
    begins = np.cumsum([0, *map(len, asked)])
    twin_of, unsure = _find(known, _Shingles.joined(asked))
    return {
        name: NearDuplicates(
            twins=[(row - begin, twin_of[row]) for row in range(begin, end) if row in twin_of],
            unsure=sum(row in unsure and row not in twin_of for row in range(begin, end)),
        )
        for name, begin, end in zip(evals, begins[:-1].tolist(), begins[1:].tolist(), strict=True)
    }


@dataclass(frozen=True, kw_only=True)
class _Shingles:
    """The words and the pairs of neighbouring words of rows, as numbers; those of a second text are others than those of a first.

    numbers_S: uint64; a number may come twice in a text
    ends_RK: int64, (R, K), where each of the K texts of a row ends in S
    """

    numbers_S: np.ndarray
    ends_RK: np.ndarray

    def __len__(self) -> int:
        return len(self.ends_RK)

    @classmethod
    def of(cls, examples: Examples, numbers: dict[str, int]) -> "_Shingles":
        """Number the words of the rows; `numbers` has those of words that are known, and learns the others."""
        words, ends = [], []
        for texts in examples.texts:
            for place, text in enumerate(normalised(texts), start=1):
                words += [4 * numbers.setdefault(word, len(numbers)) + place for word in WORD.findall(text) or text.split()]
                words.append(0)  # a pair of words does not reach from one text into the next
                ends.append(len(words))
        word_S = np.array(words, dtype=np.uint64)
        next_S = np.append(word_S[1:], np.uint64(0))
        both = np.stack([word_S, (word_S << np.uint64(32)) + next_S], axis=1)
        is_kept = np.stack([word_S > 0, (word_S > 0) & (next_S > 0)], axis=1)
        kept_ends = np.append(0, np.cumsum(is_kept.sum(axis=1)))[ends]
        return cls(numbers_S=_mixed(both[is_kept]), ends_RK=kept_ends.reshape(len(examples), -1))

    @classmethod
    def joined(cls, parts: list["_Shingles"]) -> "_Shingles":
        """Return the rows of several splits, one behind the other."""
        starts = np.cumsum([0, *(len(part.numbers_S) for part in parts)])
        ends = [part.ends_RK + start for part, start in zip(parts, starts[:-1], strict=True)]
        return cls(numbers_S=np.concatenate([part.numbers_S for part in parts]), ends_RK=np.concatenate(ends))

    @cached_property
    def starts(self) -> np.ndarray:
        """Return where each row begins in S, (R,)."""
        return np.append(0, self.ends_RK[:-1, -1])

    def row(self, row: int) -> list[set[int]]:
        """Return what each text of a row has."""
        edges = [self.starts[row], *self.ends_RK[row]]
        return [set(self.numbers_S[start:end].tolist()) for start, end in pairwise(edges)]

    def band(self, factors: np.ndarray) -> np.ndarray:
        """Return a number for each row, (R,) uint64, the same where the smallest hashes by all these functions are the same."""
        numbers_R = np.zeros(len(self), np.uint64)
        for rows in self._chunks():
            first, last = self.starts[rows[0]], self.ends_RK[rows[-1], -1]
            for factor in factors:
                hashes = (self.numbers_S[first:last] * factor) >> np.uint64(32)
                smallest = np.minimum.reduceat(hashes, self.starts[rows] - first)
                numbers_R[rows] = _mixed(numbers_R[rows] ^ smallest)
        return numbers_R

    @cached_property
    def filled(self) -> np.ndarray:
        """Return the rows that have any word."""
        return np.flatnonzero(self.ends_RK[:, -1] > self.starts)

    def _chunks(self) -> Iterator[np.ndarray]:
        """Give the filled rows in pieces of about AT_ONCE numbers."""
        edges = np.searchsorted(self.ends_RK[self.filled, -1], np.arange(AT_ONCE, len(self.numbers_S), AT_ONCE))
        yield from (piece for piece in np.split(self.filled, edges) if len(piece))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return other numbers, uint64, that look random and differ where these do.

    Source: the finaliser of SplitMix64, G. Steele, D. Lea and C. Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _find(known: _Shingles, asked: _Shingles) -> tuple[dict[int, int], set[int]]:
    """Return the twin of each row of `asked` that has one in `known`, and the rows that not all possible ones were tried for."""
    factors = np.random.default_rng(SEED).integers(2**64, size=(BANDS, IN_BAND), dtype=np.uint64) | np.uint64(1)
    twin_of: dict[int, int] = {}
    unsure: set[int] = set()
    compared: set[tuple[int, int]] = set()
    with meter("near duplicates", BANDS, "bands") as progress:
        for of_band in factors:
            known_R, asked_R = known.band(of_band), asked.band(of_band)
            order = np.argsort(known_R, kind="stable")
            sorted_R = known_R[order]
            begins, ends = (np.searchsorted(sorted_R, asked_R[asked.filled], side) for side in ("left", "right"))
            for place in np.flatnonzero(begins < ends).tolist():
                row = int(asked.filled[place])
                if row in twin_of:
                    continue
                if ends[place] - begins[place] > MOST_COMPARED:
                    unsure.add(row)
                some = order[begins[place] : min(ends[place], begins[place] + MOST_COMPARED)].tolist()
                new = [twin for twin in some if (row, twin) not in compared]
                compared.update((row, twin) for twin in new)
                if (twin := _most_alike(asked.row(row), known, new)) is not None:
                    twin_of[row] = twin
            progress.advance(1, "bands")
    return twin_of, unsure


def _most_alike(own: list[set[int]], known: _Shingles, rows: list[int]) -> int | None:
    """Return the row that shares most, the first of several; None where none shares enough. Of a pair the text counts that shares
    least."""
    shared = [min(map(_share, own, known.row(row))) for row in rows]
    best = max(shared, default=0.0)
    return rows[shared.index(best)] if best >= LEAST_SHARED else None


def _share(one: set[int], other: set[int]) -> float:
    """Return Jaccard's similarity: of all that either has, the share that both have."""
    return len(one & other) / len(one | other) if one or other else 1.0
