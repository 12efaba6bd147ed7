"""Texts become token ids once; encoding_cache.py keeps them.

Legend: S sequences of a split, which are its examples or their windows (windows.py, text_windows.py); T tokens of all of them; C
outputs of a model for a sequence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from debft.data.arrays import GrowingArray, pieces
from debft.data.encoding_cache import cached_arrays
from debft.data.examples import Examples
from debft.data.tokens import WordByWord, framed, ranges, whole_texts
from debft.data.truncation import cut_to
from debft.runtime.progress import meter

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

CHUNK = 1000  # examples that are encoded at a time: progress is shown in between


@dataclass(frozen=True, kw_only=True)
class EncodedSplit:
    """The sequences of a split lie end to end.

    ids_T: int32, the token ids
    types_T: int8, the token types
    ends_S: int64, where each sequence ends in T
    labels_S: what is learned of each sequence: int64 (S,), float32 (S, C) of 0 and 1 for sets of labels, float32 (S,) for scores,
        or int64 (S, 2) for spans
    truncated: how many examples were cut
    longest: the tokens of the longest example before it was cut, where one was; 0 where it is not known
    places_V: int32, the row of the model's table for each token id, where it has those of some tokens alone; None where it has all
    """

    ids_T: np.ndarray
    types_T: np.ndarray
    ends_S: np.ndarray
    labels_S: np.ndarray
    truncated: int
    longest: int = 0
    places_V: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ends_S)

    @property
    def weights(self) -> np.ndarray | None:
        """Return what each sequence counts for in the loss, (S,) float32, with a mean of 1; None where all count alike."""
        return None

    @property
    def row_labels(self) -> np.ndarray:
        """Return the labels of the rows, whose answers are scored; a row may have several sequences."""
        return self.labels_S

    def pooled(self, outputs_SC: np.ndarray) -> np.ndarray:
        """Return the outputs of each row, of those of its sequences."""
        return outputs_SC

    def with_labels(self, task_labels: tuple[str, ...], model_labels: tuple[str, ...]) -> "EncodedSplit":
        """Return the same examples with labels that count in the order of the model's outputs instead of the task's."""
        if self.labels_S.ndim == 2:
            return replace(self, labels_S=self.labels_S[:, [task_labels.index(label) for label in model_labels]])
        order = np.array([model_labels.index(label) for label in task_labels], dtype=np.int64)
        return replace(self, labels_S=order[self.labels_S])

    def lengths(self) -> np.ndarray:
        """Return the tokens of each sequence, (S,)."""
        return np.diff(self.ends_S, prepend=0)

    def lengths_of(self, indices: np.ndarray) -> np.ndarray:
        """Return the tokens of some sequences."""
        return self.ends_S[indices] - np.where(indices > 0, self.ends_S[indices - 1], 0)

    def example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (token ids as the model has them, token types) of one sequence."""
        start = self.ends_S[index - 1] if index else 0
        ids, types = self.ids_T[start : self.ends_S[index]], self.types_T[start : self.ends_S[index]]
        return ids if self.places_V is None else self.places_V[ids], types

    def largest_id(self) -> int:
        """Return the largest token id."""
        return max(int(part.max()) for part in pieces(self.ids_T))

    @property
    def num_cut(self) -> int:
        """Return how many examples are not read whole."""
        return self.truncated

    def remarks(self) -> list[str]:
        """Return lines that a reader should know before training."""
        if not self.truncated:
            return []
        longest = f", the longest from {self.longest:,} tokens" if self.longest else ""
        return [f"{self.truncated:,} of {len(self):,} are longer than the maximum and were cut{longest}"]


def never() -> bool:
    """Return False."""
    return False


def encode(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    *,
    max_seq_length: int,
    truncation: str,
    seed: int,
    what: str,
    swap_texts: bool = False,
    by_word: Callable[[], bool] = never,
    cached: bool = True,
    show: bool = True,
) -> EncodedSplit:
    """Encode every example, or take it from the cache where the same content was encoded before.

    truncation, swap_texts: as in a recipe
    seed: it matters for the truncation `random_ends` alone
    what: names the rows on the progress bar
    by_word: tells whether the tokens of a text may be put together of its words, which is faster and gives the same ids; it is
    asked where the examples are not in the cache
    cached: without it the cache is neither read nor written
    show: without it there is no progress bar
    """
    draws = seed if truncation == "random_ends" else None
    arrays = cached_arrays(
        examples,
        tokenizer,
        [max_seq_length, truncation, draws, swap_texts],
        lambda: _encode(examples, tokenizer, max_seq_length, truncation, seed, what, show, by_word(), swap_texts),
        cached=cached,
    )
    return EncodedSplit(
        ids_T=arrays["ids"],
        types_T=arrays["types"],
        ends_S=arrays["ends"],
        labels_S=examples.label_array,
        truncated=int(arrays["truncated"][0]),
        longest=int(arrays["truncated"][1]),
    )


def whole_lengths(texts: Sequence[tuple[str, ...]], tokenizer: "PreTrainedTokenizerFast") -> list[int]:
    """Return the tokens that each example has before it is cut, the special ones included."""
    if not texts:
        return []
    backend = set_up(tokenizer)
    special = Frame.of(backend, len(texts[0])).num_special
    lengths_KN = [whole_texts(backend, list(column))[1] for column in zip(*texts, strict=True)]
    return (special + np.sum(lengths_KN, axis=0)).tolist()


def set_up(tokenizer: "PreTrainedTokenizerFast") -> "Tokenizer":
    """Return the Rust tokenizer, which then neither pads nor truncates, and takes `[SEP]` in a text as text."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True
    return backend


def _encode(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    max_seq_length: int,
    truncation: str,
    seed: int,
    what: str,
    show: bool,
    by_word: bool = False,
    swap: bool = False,
) -> dict[str, np.ndarray]:
    backend = set_up(tokenizer)
    tokens_of = WordByWord(backend) if by_word else partial(whole_texts, backend)
    frame = Frame.of(backend, len(examples.texts[0]))
    room = max_seq_length - frame.num_special
    ids, types, lengths = (GrowingArray(-(-len(examples) // CHUNK)) for _ in range(3))
    num_cut, longest = 0, 0
    with meter("tokens", len(examples), "examples", show=show) as progress:
        for start in range(0, len(examples), CHUNK):
            chunk = examples.texts[start : start + CHUNK]
            columns = [tokens_of(list(texts)) for texts in zip(*chunk, strict=True)][:: -1 if swap else 1]
            places, num_cut_here = cut_to(room, columns, truncation, seed)
            for array, part in zip((ids, types, lengths), frame.fill_all([ids_T for ids_T, _ in columns], places), strict=True):
                array.add(part)
            num_cut += num_cut_here
            longest = max(longest, frame.num_special + int(np.sum([lengths_N for _, lengths_N in columns], axis=0).max()))
            progress.advance(len(chunk), what)
    ends = np.cumsum(lengths.done(), dtype=np.int64)
    return {"ids": ids.done(), "types": types.done(), "ends": ends, "truncated": np.array([num_cut, longest])}


@dataclass(frozen=True)
class Frame:
    """A frame holds the special tokens that stand around one text or two.

    around: (ids, token types) of the special tokens before, between and behind the texts
    text_types: the token type of each text
    """

    around: tuple[tuple[np.ndarray, np.ndarray], ...]
    text_types: tuple[int, ...]

    @classmethod
    def of(cls, backend: "Tokenizer", num_texts: int) -> "Frame":
        """Learn the frame from what the tokenizer puts around texts of one word."""
        whole = framed(backend, num_texts)
        ids, types = np.array(whole.ids, dtype=np.int32), np.array(whole.type_ids, dtype=np.int8)
        change = np.diff([0, *(1 - np.array(whole.special_tokens_mask)), 0])
        begins, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
        assert len(begins) == num_texts, "expected special tokens between two texts"
        edges = zip([0, *ends], [*begins, len(ids)], strict=True)
        return cls(tuple((ids[a:b], types[a:b]) for a, b in edges), tuple(int(types[begin]) for begin in begins))

    @property
    def num_special(self) -> int:
        return sum(len(ids) for ids, _ in self.around)

    def fill_all(
        self, texts: list[np.ndarray], places: list[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Do what `fill` does for N examples at once, and return (ids int32, types int8, the length of each example, (N,)).

        texts: the ids of the first texts of all examples, end to end, and of the second ones
        places: the (start, length) of each example's text there, (N,) both
        """
        lengths_N = self.num_special + np.sum([lengths for _, lengths in places], axis=0)
        at_N = np.cumsum(lengths_N) - lengths_N
        ids, types = np.empty(int(lengths_N.sum()), np.int32), np.empty(int(lengths_N.sum()), np.int8)
        for k, (special, special_types) in enumerate(self.around):
            for one, one_type in zip(special, special_types, strict=True):
                ids[at_N], types[at_N] = one, one_type
                at_N = at_N + 1
            if k < len(texts):
                starts, lengths = places[k]
                to = ranges(at_N, lengths)
                ids[to], types[to] = texts[k][ranges(starts, lengths)], self.text_types[k]
                at_N = at_N + lengths
        return ids, types, lengths_N

    def fill(self, texts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return (ids int32, types int8) of the texts with the special tokens around them."""
        ids, types = [self.around[0][0]], [self.around[0][1]]
        for text, kind, (special, special_types) in zip(texts, self.text_types, self.around[1:], strict=True):
            ids += [text, special]
            types += [np.full(len(text), kind, dtype=np.int8), special_types]
        return np.concatenate(ids), np.concatenate(types)
