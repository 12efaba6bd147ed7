"""Texts that are too long together are cut to the room there is."""

import hashlib

import numpy as np


def cut_to(
    room: int, columns: list[tuple[np.ndarray, np.ndarray]], truncation: str, seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], int]:
    """Return the (start, length) of what stays of every text, for each column, and how many of the N examples were cut.

    room: tokens that an example may have in all its texts
    columns: the ids of a column's texts, end to end, and the length of each, (N,)
    """
    starts = [np.cumsum(lengths_N) - lengths_N for _, lengths_N in columns]
    kept = [lengths_N.copy() for _, lengths_N in columns]
    too_long = np.flatnonzero(sum(kept) > room)
    for i in too_long:
        parts = [ids_T[start[i] : start[i] + length[i]] for (ids_T, _), start, length in zip(columns, starts, kept, strict=True)]
        for start, length, (front, left) in zip(starts, kept, _stay(parts, room, truncation, seed), strict=True):
            start[i] += front
            length[i] = left
    return list(zip(starts, kept, strict=True)), len(too_long)


def _stay(parts: list[np.ndarray], room: int, truncation: str, seed: int) -> list[tuple[int, int]]:
    """Return (tokens dropped in front, tokens that stay) of each text of an example, by the way that a recipe names.

    `random_ends` draws by seed and tokens, so that the same texts are cut alike wherever they stand: when a run is scored again,
    or when a single row is labelled.
    """
    lengths = [len(part) for part in parts]
    if truncation == "longest_first":
        return [(0, keep) for keep in longest_first(lengths, room)]
    content = hashlib.sha256(np.concatenate([lengths, *parts]).astype("<i8").tobytes()).digest()
    dropped = random_ends(lengths, room, np.random.default_rng((seed, int.from_bytes(content[:8], "little"))))
    return [(front, length - front - back) for length, (front, back) in zip(lengths, dropped, strict=True)]


def longest_first(lengths: list[int], room: int) -> list[int]:
    """Return how many tokens of each text stay: the longer is cut to the shorter, then both to halves, as `tokenizers` does it."""
    if sum(lengths) <= room:
        return list(lengths)
    if len(lengths) == 1:
        return [room]
    short, long = sorted(lengths)
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short = room // 2
        long = short + room % 2
    return [short, long] if lengths[0] <= lengths[1] else [long, short]


def random_ends(lengths: list[int], room: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return (tokens dropped in front, behind) of each text: one token at a time goes from the longer one, by a coin.

    Source: microsoft/DeBERTa DeBERTa/data/example.py _truncate_segments. It draws anew whenever an example is read;
    here the draw is fixed by seed and texts, so that a run can be repeated, cached and used. It also hands truncated texts back
    longest first, so that a premise may come second; here they keep their places.
    """
    left = list(lengths)
    dropped = [[0, 0] for _ in lengths]
    while sum(left) > room:
        longer = left.index(max(left))
        dropped[longer][0 if rng.random() < 0.5 else 1] += 1
        left[longer] -= 1
    return [(front, back) for front, back in dropped]
