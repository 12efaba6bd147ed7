"""Many texts become token ids: all at once on every core, or word by word where that gives the same ids in a fraction of the time.

Legend: N texts, T tokens of all of them, W different words.
"""

from itertools import chain

import numpy as np
from tokenizers import Encoding, Tokenizer

MOST_CHARACTERS = 2**24  # of the words that are kept: beyond them all are forgotten, so that texts without spaces fill no memory

Tokens = tuple[np.ndarray, np.ndarray]  # the ids of all texts end to end, (T,) int32, and the number of tokens of each, (N,) int64


def whole_texts(backend: Tokenizer, texts: list[str]) -> Tokens:
    """Encode each text by itself. The tokenizer takes as many threads as there are cores."""
    encoded = backend.encode_batch_fast(texts, add_special_tokens=False)  # without offsets
    lengths_N = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return np.fromiter(chain.from_iterable(one.ids for one in encoded), np.int32, int(lengths_N.sum())), lengths_N


def framed(backend: Tokenizer, num_texts: int) -> Encoding:
    """Return what the tokenizer makes of one text or two of a word each, with its special tokens around them."""
    first, *others = backend.encode_batch(["a"] * num_texts, add_special_tokens=False)
    return backend.post_process(first, others[0] if others else None)


class WordByWord:
    """The tokens of every word that was met are kept, and those of a text are put together of its words.

    This is exact only for a tokenizer of which `reads_word_by_word` in models/tokens/words.py is true. It is fast where a
    language parts its words: of those in a long file few are new.
    """

    numbers: "_Numbers"
    characters: int  # of the words that are kept
    ids_T: np.ndarray  # of all words, end to end
    starts_W: np.ndarray
    lengths_W: np.ndarray

    def __init__(self, backend: Tokenizer) -> None:
        self.backend = backend
        self._forget()

    def __call__(self, texts: list[str]) -> Tokens:
        """Return the tokens of the texts; words that are new are encoded together, on every core."""
        words = " ".join(texts).split(" ")  # "" between two spaces and for an empty text is a word without tokens
        word_numbers = np.fromiter(map(self.numbers.__getitem__, words), np.int64, len(words))
        self._learn()
        counts = self.lengths_W[word_numbers]
        ids_T = self.ids_T[ranges(self.starts_W[word_numbers], counts)]
        ends = np.cumsum(np.fromiter((text.count(" ") + 1 for text in texts), np.int64, len(texts)))
        lengths_N = np.diff(np.append(0, np.cumsum(counts))[ends], prepend=0)
        if self.characters > MOST_CHARACTERS:
            self._forget()
        return ids_T, lengths_N

    def _learn(self) -> None:
        """Encode the words that were met for the first time."""
        if not self.numbers.new:
            return
        ids, lengths = whole_texts(self.backend, self.numbers.new)
        self.starts_W = np.append(self.starts_W, len(self.ids_T) + np.cumsum(lengths) - lengths)
        self.lengths_W = np.append(self.lengths_W, lengths)
        self.ids_T = np.append(self.ids_T, ids)
        self.characters += sum(map(len, self.numbers.new))
        self.numbers.new.clear()

    def _forget(self) -> None:
        self.numbers, self.characters = _Numbers(), 0
        self.ids_T, self.starts_W, self.lengths_W = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64)


class _Numbers(dict[str, int]):
    """Words have numbers in the order in which they were met. `new`: those that have not been encoded yet."""

    def __init__(self) -> None:
        self.new: list[str] = []

    def __missing__(self, word: str) -> int:
        self.new.append(word)
        self[word] = number = len(self)
        return number


def ranges(starts_N: np.ndarray, lengths_N: np.ndarray) -> np.ndarray:
    """Return the places `start` to `start + length` of every pair, one range behind the other."""
    before_N = np.cumsum(lengths_N) - lengths_N
    return np.repeat(starts_N - before_N, lengths_N) + np.arange(int(lengths_N.sum()))
