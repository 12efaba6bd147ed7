"""Texts become token ids, once: the result is cached under a key of its content.

Legend: N examples, T tokens of all examples together.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from debft.console import meter, say
from debft.data.rows import Examples
from debft.runs.cache import cache_directory
from debft.runs.environment import code_digest, moving_versions
from debft.runs.storage import DiskError, write_atomically
from debft.runtime.launch import is_main_process

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FORMAT = 2
ENCODERS = ("tokenizers", "sentencepiece", "numpy")  # the packages whose versions can move a token id
CHUNK = 1000  # examples per call of the Rust tokenizer: progress is shown in between


@dataclass(frozen=True, kw_only=True)
class EncodedSplit:
    """ids_T int32 and types_T int8 of all examples end to end; ends_N int64: where each one ends; truncated: how many were."""

    ids_T: np.ndarray
    types_T: np.ndarray
    ends_N: np.ndarray
    labels_N: np.ndarray
    truncated: int

    def __len__(self) -> int:
        return len(self.ends_N)

    def with_labels(self, task_labels: tuple[str, ...], model_labels: tuple[str, ...]) -> "EncodedSplit":
        """The same examples, their labels counted in the order of the model's outputs instead of the task's."""
        order = np.array([model_labels.index(label) for label in task_labels], dtype=np.int64)
        return replace(self, labels_N=order[self.labels_N])

    def lengths(self) -> np.ndarray:
        return np.diff(self.ends_N, prepend=0)

    def example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(token ids, token type ids) of one example."""
        start = self.ends_N[index - 1] if index else 0
        return self.ids_T[start : self.ends_N[index]], self.types_T[start : self.ends_N[index]]

    def remarks(self) -> list[str]:
        """What a reader should know before training."""
        return [f"{self.truncated:,} of {len(self):,} are longer than the maximum and were cut"] if self.truncated else []


def encode(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    *,
    max_seq_length: int,
    truncation: str,
    seed: int,
    what: str,
    swap_texts: bool = False,
    cached: bool = True,
    show: bool = True,
) -> EncodedSplit:
    """Token ids of every example, from the cache where the same content was encoded before (`cached=False`: without it).

    `truncation` and `swap_texts` as in TextConfig; `seed` matters for `random_ends` alone.
    """
    if swap_texts:
        examples = replace(examples, texts=[texts[::-1] for texts in examples.texts])
    draws = seed if truncation == "random_ends" else None
    arrays = cached_arrays(
        examples,
        tokenizer,
        [max_seq_length, truncation, draws],
        lambda: _encode(examples, tokenizer, max_seq_length, truncation, seed, what, show),
        cached=cached,
    )
    return EncodedSplit(
        ids_T=arrays["ids"],
        types_T=arrays["types"],
        ends_N=arrays["ends"],
        labels_N=examples.labels,
        truncated=int(arrays["truncated"][0]),
    )


def cached_arrays(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    settings: list,
    compute: Callable[[], dict[str, np.ndarray]],
    *,
    cached: bool,
) -> dict[str, np.ndarray]:
    """What `compute` gives for these texts, this tokenizer and `settings`; from the cache where it was computed before.

    One process computes, others that want the same wait for it. A cache that cannot be written is said and done without.
    """
    if not cached:
        return compute()
    path = cache_directory() / "encoded" / f"{_key(examples, tokenizer, settings)}.safetensors"
    with ExitStack() as stack:
        try:
            path.parent.mkdir(exist_ok=True)
            stack.enter_context(FileLock(path.with_suffix(".lock")))
        except OSError as error:
            _say_not_kept(f"{path.parent}: cannot be written: {error.strerror}")
        arrays = _read_cache(path) if path.is_file() else None
        if arrays is None:
            arrays = compute()
            _write_cache(path, arrays)
    return arrays


def set_up(tokenizer: "PreTrainedTokenizerFast"):
    """The Rust tokenizer without padding and truncation; `[SEP]` in a text is text."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True
    return backend


def _encode(examples, tokenizer, max_seq_length, truncation, seed, what, show) -> dict[str, np.ndarray]:
    backend = set_up(tokenizer)
    frame = Frame.of(backend, len(examples.texts[0]))
    room = max_seq_length - frame.num_special
    ids, types, lengths, truncated = [], [], [], 0
    with meter("tokens", len(examples), "examples", show=show) as progress:
        for start in range(0, len(examples), CHUNK):
            chunk = examples.texts[start : start + CHUNK]
            columns = [backend.encode_batch([texts[k] for texts in chunk], add_special_tokens=False) for k in range(len(chunk[0]))]
            for row in zip(*columns, strict=True):
                parts = [np.array(part.ids, dtype=np.int32) for part in row]
                if sum(map(len, parts)) > room:
                    truncated += 1
                    parts = _truncated(parts, room, truncation, seed)
                whole_ids, whole_types = frame.fill(parts)
                ids.append(whole_ids)
                types.append(whole_types)
                lengths.append(len(whole_ids))
            progress.advance(len(chunk), what)
    return {
        "ids": np.concatenate(ids),
        "types": np.concatenate(types),
        "ends": np.cumsum(lengths, dtype=np.int64),
        "truncated": np.array([truncated]),
    }


@dataclass(frozen=True)
class Frame:
    """What stands around one text or two: (ids, token types) of the special tokens before, between and behind them, and the token
    type of each text.
    """

    around: tuple[tuple[np.ndarray, np.ndarray], ...]
    text_types: tuple[int, ...]

    @classmethod
    def of(cls, backend, num_texts: int) -> "Frame":
        """Read off texts of one word."""
        whole = backend.post_process(*backend.encode_batch(["a"] * num_texts, add_special_tokens=False))
        ids, types = np.array(whole.ids, dtype=np.int32), np.array(whole.type_ids, dtype=np.int8)
        change = np.diff([0, *(1 - np.array(whole.special_tokens_mask)), 0])
        begins, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
        assert len(begins) == num_texts, "expected special tokens between two texts"
        edges = zip([0, *ends], [*begins, len(ids)], strict=True)
        return cls(tuple((ids[a:b], types[a:b]) for a, b in edges), tuple(int(types[begin]) for begin in begins))

    @property
    def num_special(self) -> int:
        return sum(len(ids) for ids, _ in self.around)

    def fill(self, texts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(ids int32, types int8) of the texts' ids with the special tokens around them."""
        ids, types = [self.around[0][0]], [self.around[0][1]]
        for text, kind, (special, special_types) in zip(texts, self.text_types, self.around[1:], strict=True):
            ids += [text, special]
            types += [np.full(len(text), kind, dtype=np.int8), special_types]
        return np.concatenate(ids), np.concatenate(types)


def _truncated(parts: list[np.ndarray], room: int, truncation: str, seed: int) -> list[np.ndarray]:
    """The texts cut to `room` tokens together. `random_ends` draws by seed and tokens: the same texts are cut alike wherever
    they stand, when a run is scored again or a single row is labelled.
    """
    lengths = [len(part) for part in parts]
    if truncation == "longest_first":
        return [part[:keep] for part, keep in zip(parts, longest_first(lengths, room), strict=True)]
    content = hashlib.sha256(np.concatenate([lengths, *parts]).astype("<i8").tobytes()).digest()
    dropped = random_ends(lengths, room, np.random.default_rng((seed, int.from_bytes(content[:8], "little"))))
    return [part[front : len(part) - back] for part, (front, back) in zip(parts, dropped, strict=True)]


def longest_first(lengths: list[int], room: int) -> list[int]:
    """How many tokens of each text stay, as `tokenizers` counts them: the longer is cut to the shorter, then both to halves."""
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
    """(tokens dropped in front, behind) of each text: one token at a time, of the longer one, by a coin.

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


def _key(examples: Examples, tokenizer, settings: list) -> str:
    """A digest of all that the arrays follow from: texts, settings, tokenizer, and the code and versions that compute them."""
    digest = hashlib.sha256()
    versions = [moving_versions()[name] for name in ENCODERS]
    digest.update(json.dumps([FORMAT, code_digest(), versions, *settings, len(examples)]).encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    for texts in examples.texts:
        digest.update("\x1f".join((*texts, "")).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def _write_cache(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save

    try:
        write_atomically(path, save(arrays, metadata={"sha256": _digest(arrays)}))
    except DiskError as error:
        _say_not_kept(error.refusal)


@cache
def _say_not_kept(refusal: str) -> None:
    """Once per process and reason: a run has several splits."""
    if is_main_process():
        say(f"cache: {refusal}; the encoded texts are not kept for the next run")


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays, or None where the file is damaged (which is said, and it is made again)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            recorded = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError):
        recorded, arrays = "unreadable", {}
    if recorded == _digest(arrays):
        return arrays
    say(f"cache: {path} is damaged; encoding again")
    return None


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
