"""Rows are cut into parts: into folds, or into what is trained on and what is held out.

A cut is stratified: every label has the share of a part in it that the part has of all rows, as closely as whole rows allow. Rows
with the same texts come into one part, so that nothing is trained on that is scored. It is seeded by hashes of the texts, not by a
random generator: the same rows are cut in the same way whatever their order, the machine and the versions.
Source: the greedy choice follows K. Sechidis, G. Tsoumakas and I. Vlahavas, On the Stratification of Multi-label Data, ECML PKDD
2011: the rarest label first, into the part that lacks most of it. For single labels it gives what scikit-learn's StratifiedKFold
promises: of each label, no two folds differ by more than one row. What a label has beyond whole rows for each part goes, unlike
there, where rows lack of all labels together: a tenth of very many labels with three rows each is a tenth, not none of them.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from debft.data.examples import Examples
from debft.data.same_texts import normalised

SEED = 42  # of every cut. It is not the seed of a run: runs with other seeds are trained and scored on the same rows
ROUNDING = 1e-9  # of a share times a number of rows
BINS = 10  # scores are stratified by their tenth


def cut(
    texts: Sequence[tuple[str, ...]], strata: Sequence[Sequence[Hashable]], shares: Sequence[float], seed: int = SEED
) -> np.ndarray:
    """Return the part of each row, (N,) int64, from 0.

    texts: rows with the same texts, but for case and spaces, come into one part
    strata: the labels of each row, see `strata_of`
    shares: the share of all rows that each part is to have; they sum to 1
    """
    sizes = Counter(label for labels in strata for label in labels)
    order_of_labels = sorted(sizes, key=lambda label: (sizes[label], str(label)))
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, parts in enumerate(texts):
        groups[normalised(parts)].append(row)
    rarest = {label: place for place, label in enumerate(order_of_labels)}
    waiting: dict[Hashable, list[tuple]] = defaultdict(list)
    for key, rows in groups.items():
        label = min((label for row in rows for label in strata[row]), key=rarest.__getitem__)
        digest = hashlib.sha256("\x1f".join((str(seed), *key)).encode("utf-8", "surrogatepass")).digest()
        waiting[label].append((-len(rows), digest, rows))
    lacking = {label: [share * sizes[label] for share in shares] for label in order_of_labels}
    lacking_rows = [share * len(texts) for share in shares]
    whole = {label: _whole_rows(shares, sum(len(rows) for *_, rows in waiting[label])) for label in order_of_labels}
    to_come = [sum(counts) for counts in zip(*whole.values(), strict=True)]  # whole rows of the labels behind, by part
    part_of = [0] * len(texts)
    for label in order_of_labels:
        to_come = [count - own for count, own in zip(to_come, whole[label], strict=True)]
        for place, (_, _, rows) in enumerate(sorted(waiting[label])):
            lacks: list[tuple[Any, ...]] = list(zip(lacking[label], lacking_rows, strict=True))
            if place and max(lacks)[0] < 1 - ROUNDING:  # the first row of a label is for the part that has the most of it
                spare = [rest - count if lack > 0 else -math.inf for (lack, rest), count in zip(lacks, to_come, strict=True)]
                lacks = list(zip(spare, lacks, strict=True))
            part = lacks.index(max(lacks))
            lacking_rows[part] -= len(rows)
            for row in rows:
                part_of[row] = part
                for each in strata[row]:
                    lacking[each][part] -= 1
    return np.array(part_of, dtype=np.int64)


def _whole_rows(shares: Sequence[float], rows: int) -> list[int]:
    """Return how many of the rows of a label each part has for certain."""
    return [math.floor(share * rows + ROUNDING) for share in shares]


def strata_of(examples: Examples) -> list[tuple[Hashable, ...]]:
    """Return the labels of each row that a cut keeps in their shares: its label, its labels, or the tenth its score lies in."""
    labels = np.asarray(examples.labels)
    if labels.ndim == 2:  # (N, C) of 0 and 1; a row without a label is of a kind of its own
        return [tuple(np.flatnonzero(row_C).tolist()) or (-1,) for row_C in labels]
    if labels.dtype.kind != "f":
        return [(label,) for label in labels.tolist()]
    rank_N = np.empty(len(labels), dtype=np.int64)
    rank_N[np.argsort(labels, kind="stable")] = np.arange(len(labels))
    return [(place,) for place in (rank_N * BINS // max(len(labels), 1)).tolist()]


def folds_of(examples: Examples, folds: int, seed: int = SEED) -> np.ndarray:
    """Return the fold of each row, (N,) int64, from 1 to `folds`; they are disjoint and hold every row."""
    return 1 + cut(examples.texts, strata_of(examples), [1 / folds] * folds, seed)
