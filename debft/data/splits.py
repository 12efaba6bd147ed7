"""Rows are cut into parts: into folds, or into what is trained on and what is held out.

A cut is stratified: every label has the share of a part in it that the part has of all rows, as closely as whole rows allow. Rows
with the same texts come into one part, so that nothing is trained on that is scored. It is seeded by hashes of the texts, not by a
random generator: the same rows are cut in the same way whatever their order, the machine and the versions.
Source: the greedy choice follows K. Sechidis, G. Tsoumakas and I. Vlahavas, On the Stratification of Multi-label Data, ECML PKDD
2011: the rarest label first, into the part that lacks most of it. For single labels it gives what scikit-learn's StratifiedKFold
promises: of each label, no two folds differ by more than one row. What a label has beyond whole rows for each part goes, unlike
there, where rows lack of all labels together: a tenth of very many labels with three rows each is a tenth, not none of them.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from debft.data.examples import Examples
from debft.data.same_texts import digests, grouped, normalised
from debft.data.tokens import ranges

SEED = 42  # of every cut. It is not the seed of a run: runs with other seeds are trained and scored on the same rows
ROUNDING = 1e-9  # of a share times a number of rows
GROUPS_AT_ONCE = 2**16
BINS = 10  # scores are stratified by their tenth


def cut(
    texts: Sequence[tuple[str, ...]], strata: Sequence[Sequence[Hashable]], shares: Sequence[float], seed: int = SEED
) -> np.ndarray:
    """Return the part of each row, (N,) int64, from 0.

    texts: rows with the same texts, but for case and spaces, come into one part
    strata: the labels of each row, see `strata_of`
    shares: the share of all rows that each part is to have; they sum to 1
    """
    sizes = Counter(chain.from_iterable(strata))
    order_of_labels = sorted(sizes, key=lambda label: (sizes[label], str(label)))
    groups = _groups(texts, strata, {label: place for place, label in enumerate(order_of_labels)}, seed)
    waiting = np.bincount(groups.label_G, groups.size_G, minlength=len(order_of_labels)).astype(np.int64).tolist()
    lacking = {label: [share * sizes[label] for share in shares] for label in order_of_labels}
    lacking_rows = [share * len(texts) for share in shares]
    whole = [_whole_rows(shares, rows) for rows in waiting]
    to_come = [sum(counts) for counts in zip(*whole, strict=True)]  # whole rows of the labels behind, by part
    part_N = np.empty(len(texts), dtype=np.int64)
    for number, label in enumerate(order_of_labels):
        to_come = [count - own for count, own in zip(to_come, whole[number], strict=True)]
        for place, rows in enumerate(groups.of_label(number)):
            lacks: list[tuple[Any, ...]] = list(zip(lacking[label], lacking_rows, strict=True))
            if place and max(lacks)[0] < 1 - ROUNDING:  # the first row of a label is for the part that has the most of it
                spare = [rest - count if lack > 0 else -math.inf for (lack, rest), count in zip(lacks, to_come, strict=True)]
                lacks = list(zip(spare, lacks, strict=True))
            part = lacks.index(max(lacks))
            lacking_rows[part] -= len(rows)
            for row in rows:
                part_N[row] = part
                for each in strata[row]:
                    lacking[each][part] -= 1
    return part_N


@dataclass(frozen=True, kw_only=True)
class _Groups:
    """Rows with the same texts are groups, G of them, by their rarest labels; of a label the large ones first.

    row_N: the rows of all groups, end to end, those of each in their order
    begin_G: where each group begins in `row_N`
    size_G: its rows
    label_G: its rarest label, by its place in the order of labels; it rises
    """

    row_N: np.ndarray
    begin_G: np.ndarray
    size_G: np.ndarray
    label_G: np.ndarray

    def of_label(self, label: int) -> Iterator[list[int]]:
        """Give the rows of each group of a label. Only some of them are lists at once."""
        first, last = np.searchsorted(self.label_G, [label, label + 1]).tolist()
        for start in range(first, last, GROUPS_AT_ONCE):
            some = slice(start, min(start + GROUPS_AT_ONCE, last))
            rows = self.row_N[ranges(self.begin_G[some], self.size_G[some])].tolist()
            begin = 0
            for size in self.size_G[some].tolist():
                yield rows[begin : begin + size]
                begin += size


def _groups(
    texts: Sequence[tuple[str, ...]], strata: Sequence[Sequence[Hashable]], rarest: dict[Hashable, int], seed: int
) -> _Groups:
    """Group the rows. Of equally large groups of a label, a hash of their texts says which comes first. rarest: places of labels"""
    row_N, begin_G = grouped(digests(map(normalised, texts), str(seed)))
    size_G = np.diff(np.append(begin_G, len(row_N)))
    rarest_N = np.fromiter((min(map(rarest.__getitem__, labels)) for labels in strata), np.int32, len(strata))
    label_G = np.minimum.reduceat(rarest_N[row_N], begin_G)
    order = np.lexsort((-size_G, label_G))
    return _Groups(row_N=row_N, begin_G=begin_G[order], size_G=size_G[order], label_G=label_G[order])


def _whole_rows(shares: Sequence[float], rows: int) -> list[int]:
    """Return how many of the rows of a label each part has for certain."""
    return [math.floor(share * rows + ROUNDING) for share in shares]


def strata_of(examples: Examples) -> list[tuple[Hashable, ...]]:
    """Return the labels of each row that a cut keeps in their shares: its label, its labels, or the tenth its score lies in."""
    labels = np.asarray(examples.labels)
    known: dict[tuple[Hashable, ...], tuple[Hashable, ...]] = {}  # equal ones are one object
    if labels.ndim == 2:  # (N, C) of 0 and 1; a row without a label is of a kind of its own
        sets = (tuple(np.flatnonzero(row_C).tolist()) or (-1,) for row_C in labels)
        return [known.setdefault(one, one) for one in sets]
    if labels.dtype.kind == "f":
        rank_N = np.empty(len(labels), dtype=np.int64)
        rank_N[np.argsort(labels, kind="stable")] = np.arange(len(labels))
        labels = rank_N * BINS // max(len(labels), 1)
    return [known.setdefault((label,), (label,)) for label in labels.tolist()]


def folds_of(examples: Examples, folds: int, seed: int = SEED) -> np.ndarray:
    """Return the fold of each row, (N,) int64, from 1 to `folds`; they are disjoint and hold every row."""
    return 1 + cut(examples.texts, strata_of(examples), [1 / folds] * folds, seed)
