"""Texts that are too long become windows that overlap, and what a model says of the windows becomes one answer for the row.

Legend: N rows, S windows of all rows, which are the sequences of the split; C outputs of the model, K texts of a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from debft.data.arrays import GrowingArray
from debft.data.encoding import CHUNK, EncodedSplit, Frame, never, set_up
from debft.data.encoding_cache import cached_arrays
from debft.data.examples import Examples
from debft.data.tokens import Tokens, WordByWord, whole_texts
from debft.runtime.progress import meter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Places = tuple[np.ndarray, np.ndarray]  # (start, length) of a text's tokens in each window, (S,) both


@dataclass(frozen=True, kw_only=True)
class EncodedTextWindows(EncodedSplit):
    """The sequences of a split are windows; those of a row lie side by side.

    labels_S: what the row of each window is labelled with
    truncated: how many rows lost the end of the shorter text of their pair, which every window of the row repeats
    row_S: the number of each window's row, never falling
    pooling: how the outputs for the windows of a row become one
    """

    row_S: np.ndarray
    pooling: Literal["mean", "max"]

    @cached_property
    def weights(self) -> np.ndarray:
        """Return what each window counts for in the loss, (S,) float32: a row counts once, however many windows it has.

        A window of a row with k counts for 1/k of the row, times windows / rows, so that the mean over all windows is 1: then the
        mean loss of an epoch is the mean over the rows of the mean over the windows of each.
        """
        counts_N = self.windows_of_rows()
        return (len(self) / (len(counts_N) * counts_N[self.row_S])).astype(np.float32)

    @property
    def row_labels(self) -> np.ndarray:
        return self.labels_S[self._first_windows()]

    def windows_of_rows(self) -> np.ndarray:
        """Return the number of windows of each row, (N,)."""
        return np.bincount(self.row_S)

    def pooled(self, outputs_SC: np.ndarray) -> np.ndarray:
        """Return one output for each row, (N, C): the mean of those for its windows, or the highest of each column."""
        if self.pooling == "max":
            return np.maximum.reduceat(outputs_SC, self._first_windows(), axis=0)
        sums_NC = np.add.reduceat(outputs_SC.astype(np.float64), self._first_windows(), axis=0)
        return (sums_NC / self.windows_of_rows()[:, None]).astype(outputs_SC.dtype)

    def remarks(self) -> list[str]:
        counts_N = self.windows_of_rows()
        several = int((counts_N > 1).sum())
        lines = [f"{several:,} of {len(counts_N):,} rows take more than one window, {len(self):,} in all"] if several else []
        if self.truncated:
            lines.append(f"of {self.truncated:,} pairs both texts are too long: the shorter one was cut")
        return lines

    def _first_windows(self) -> np.ndarray:
        return np.flatnonzero(np.diff(self.row_S, prepend=-1))


def encode_text_windows(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    *,
    max_seq_length: int,
    window_stride: int,
    pooling: Literal["mean", "max"],
    what: str,
    swap_texts: bool = False,
    by_word: Callable[[], bool] = never,
    cached: bool = True,
    show: bool = True,
) -> EncodedTextWindows:
    """Encode every row as one sequence, or, where it is longer than `max_seq_length` tokens, as windows of its longer text.

    Neighbouring windows share `window_stride` tokens of that text; the last one may be shorter. The other text of a pair is
    repeated in each window, cut to half of the room where it is longer. The other arguments are as in `encode`.
    """
    arrays = cached_arrays(
        examples,
        tokenizer,
        ["text windows", max_seq_length, window_stride, swap_texts],
        lambda: _encode(examples, tokenizer, max_seq_length, window_stride, what, show, by_word(), swap_texts),
        cached=cached,
    )
    return EncodedTextWindows(
        ids_T=arrays["ids"],
        types_T=arrays["types"],
        ends_S=arrays["ends"],
        labels_S=examples.label_array[arrays["rows"]],
        truncated=int(arrays["truncated"][0]),
        row_S=arrays["rows"],
        pooling=pooling,
    )


def _encode(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    max_seq_length: int,
    window_stride: int,
    what: str,
    show: bool,
    by_word: bool,
    swap: bool,
) -> dict[str, np.ndarray]:
    backend = set_up(tokenizer)
    tokens_of = WordByWord(backend) if by_word else partial(whole_texts, backend)
    frame = Frame.of(backend, len(examples.texts[0]))
    ids, types, lengths, rows = (GrowingArray(-(-len(examples) // CHUNK)) for _ in range(4))
    num_cut = 0
    with meter("tokens", len(examples), "examples", show=show) as progress:
        for start in range(0, len(examples), CHUNK):
            chunk = examples.texts[start : start + CHUNK]
            columns = [tokens_of(list(texts)) for texts in zip(*chunk, strict=True)][:: -1 if swap else 1]
            row_S, places, num_cut_here = windows_over(columns, max_seq_length - frame.num_special, window_stride)
            for array, part in zip((ids, types, lengths), frame.fill_all([ids_T for ids_T, _ in columns], places), strict=True):
                array.add(part)
            rows.add(start + row_S)
            num_cut += num_cut_here
            progress.advance(len(chunk), what)
    ends = np.cumsum(lengths.done(), dtype=np.int64)
    return {"ids": ids.done(), "types": types.done(), "ends": ends, "rows": rows.done(), "truncated": np.array([num_cut])}


def windows_over(columns: list[Tokens], room: int, overlap: int) -> tuple[np.ndarray, list[Places], int]:
    """Return the row of each window, the place of each of the K texts in it, and of how many rows the shorter text was cut.

    columns: the tokens of the texts of all rows, one or two of each
    room: tokens that all texts of a window may have together
    overlap: tokens of the longer text that neighbouring windows share
    """
    lengths_KN = np.stack([lengths_N for _, lengths_N in columns])
    starts_KN = np.cumsum(lengths_KN, axis=1) - lengths_KN
    is_long_N, longer_N = lengths_KN.sum(axis=0) > room, lengths_KN.argmax(axis=0)
    is_other_KN = is_long_N & (np.arange(len(columns))[:, None] != longer_N)  # the text that every window of a row repeats
    kept_KN = np.where(is_other_KN, np.minimum(lengths_KN, room // 2), lengths_KN)
    window_N = room - np.where(is_other_KN, kept_KN, 0).sum(axis=0)  # tokens of the longer text in a window
    step_N, rest_N = window_N - overlap, lengths_KN.max(axis=0) - window_N
    assert (step_N[is_long_N] > 0).all(), "windows would not move on"
    count_N = np.where(is_long_N, 1 - (-rest_N // np.maximum(step_N, 1)), 1)
    row_S = np.repeat(np.arange(len(count_N)), count_N)
    begin_S = (np.arange(len(row_S)) - (np.cumsum(count_N) - count_N)[row_S]) * step_N[row_S]
    places = []
    for k, (start_N, kept_N) in enumerate(zip(starts_KN, kept_KN, strict=True)):
        is_cut_S = (is_long_N & (longer_N == k))[row_S]
        left_S = np.minimum(window_N[row_S], kept_N[row_S] - begin_S)
        places.append((start_N[row_S] + np.where(is_cut_S, begin_S, 0), np.where(is_cut_S, left_S, kept_N[row_S])))
    return row_S, places, int((kept_KN < lengths_KN).any(axis=0).sum())
