"""Encoded texts are kept on disk under a key of their content, so that the next run need not encode them."""

import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from debft.console import say
from debft.data.arrays import file_of_arrays, is_large, mapped_arrays, pieces
from debft.data.examples import Examples
from debft.runs.cache import cache_directory
from debft.runs.environment import code_digest, moving_versions
from debft.runs.lock import locked
from debft.runs.reading import read_twice
from debft.runs.storage import DiskError, remove_partial, write_atomically
from debft.runtime.launch.group import is_main_process

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

FORMAT = 5
ENCODERS = ("tokenizers", "sentencepiece", "numpy")  # the packages whose versions can move a token id


def cached_arrays(
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    settings: list,
    compute: Callable[[], dict[str, np.ndarray]],
    *,
    cached: bool,
) -> dict[str, np.ndarray]:
    """Return what `compute` gives for these texts, this tokenizer and `settings`, from the cache where it was computed before.

    One process computes; others that want the same wait for it. A large file is mapped: it takes no more memory than is left, and
    the processes of a machine share it. Without a cache that can be written, a line says so.
    """
    if not cached:
        return compute()
    path = cache_directory() / "encoded" / f"{_key(examples, tokenizer, settings)}.safetensors"
    with ExitStack() as stack:
        try:
            path.parent.mkdir(exist_ok=True)
            stack.enter_context(locked(path.with_suffix(".lock"), wait=True))
            remove_partial(path.parent, path.name)
        except OSError as error:
            _say_not_kept(f"{path.parent}: cannot be written: {error.strerror}")
        except DiskError as error:
            _say_not_kept(error.refusal)
        arrays = _read_cache(path) if path.is_file() else None
        if arrays is None:
            arrays = compute()
            if _write_cache(path, arrays) and is_large(path):
                arrays = mapped_arrays(path)  # what it was computed in is given back to the disk
    return arrays


def _key(examples: Examples, tokenizer: "PreTrainedTokenizerFast", settings: list) -> str:
    """Return a digest of all that decides the arrays: texts, settings, tokenizer, and the code and versions that compute them.

    The digest of the examples is taken for that of their texts: it is needed anyway. So other labels encode anew as well.
    """
    backend = tokenizer.backend_tokenizer
    versions = [moving_versions()[name] for name in ENCODERS]
    of_tokenizer = _digest_of_tokenizer(backend, backend.get_vocab_size(with_added_tokens=True))
    content = [FORMAT, code_digest(), versions, *settings, len(examples), examples.digest, of_tokenizer]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


@lru_cache(maxsize=1)
def _digest_of_tokenizer(backend: "Tokenizer", num_tokens: int) -> str:
    """Return a digest of a tokenizer, which writes itself down once for all the splits. num_tokens: with those that were added"""
    return hashlib.sha256(backend.to_str().encode()).hexdigest()


def _write_cache(path: Path, arrays: dict[str, np.ndarray]) -> bool:
    """Write the arrays, and tell whether the disk took them."""
    try:
        write_atomically(path, file_of_arrays(arrays, {"sha256": _digest(arrays, path.stem)}))
    except DiskError as error:
        _say_not_kept(error.refusal)
        return False
    return True


@cache
def _say_not_kept(refusal: str) -> None:
    """Say it once per process and reason: a run has several splits."""
    if is_main_process():
        say(f"cache: {refusal}; the encoded texts are not kept for the next run")


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays, or None where the file is damaged, of another key or cannot be read, after saying so."""
    from safetensors import SafetensorError, safe_open

    try:
        with read_twice(path, lambda: safe_open(path, framework="numpy")) as file:
            names = file.keys()
            arrays = mapped_arrays(path) if is_large(path) else {name: file.get_tensor(name) for name in names}
            recorded = (file.metadata() or {}).get("sha256")
    except DiskError as error:
        say(f"cache: {error.refusal}; encoding again")
        return None
    except (SafetensorError, KeyError):
        recorded, arrays = "unreadable", {}
    if recorded == _digest(arrays, path.stem):
        return arrays
    say(f"cache: {path} is damaged; encoding again")
    return None


def _digest(arrays: dict[str, np.ndarray], key: str) -> str:
    """Return the digest of what a file holds and is for: its key, and the name, type, shape and content of each array."""
    digest = hashlib.sha256(key.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        for part in pieces(array):
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
