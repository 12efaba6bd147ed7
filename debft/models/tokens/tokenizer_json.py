"""A tokenizer.json is read as it stands, finds the user's tokens in any text, and tells what it puts around one."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from debft.data.tokens import framed
from debft.errors import InputError, first_line
from debft.models.json_files import check_pointer, read_json
from debft.models.tokens.added import add_stated, stated_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FORMAT = "1.0"  # the only one so far. Source: tokenizers, tokenizer/serialization.rs SERIALIZATION_VERSION
SAVED_CLASS = "PreTrainedTokenizerFast"  # transformers 5 writes TokenizersBackend, which transformers 4 does not know


def read_tokenizer_json(file: Path, special: Collection[str]) -> Tokenizer:
    """Read the Rust tokenizer in a tokenizer.json, and add the tokens that the files beside it name.

    Tokens that the file calls special are found in a text, as transformers does, unless they are in `special`: those of the
    model, such as `[SEP]`, which in a text are text. Raises InputError where it cannot be read.
    """
    check_pointer(file)
    backend = _backend(file, None)
    if any(token.special and token.content not in special for token in backend.get_added_tokens_decoder().values()):
        content = read_json(file)
        for token in content["added_tokens"]:
            token["special"] = token["content"] in special
        backend = _backend(file, json.dumps(content))
    backend.no_padding()
    backend.no_truncation()
    add_stated(backend, stated_tokens(file.parent), special)
    backend.encode_special_tokens = True
    return backend


def around(backend: Tokenizer, num_texts: int) -> list[tuple[int, int]]:
    """Return (id, token type) of each special token around one text or two."""
    whole = framed(backend, num_texts)
    marked = zip(whole.ids, whole.type_ids, whole.special_tokens_mask, strict=True)
    return [(one, kind) for one, kind, special in marked if special]


def parts_a_pair(backend: Tokenizer) -> bool:
    """Return whether a special token stands between two texts."""
    mask = "".join(map(str, framed(backend, 2).special_tokens_mask)).strip("1")
    return "1" in mask


def save_tokenizer(tokenizer: "PreTrainedTokenizerFast", directory: Path) -> None:
    """Write the tokenizer in the form that transformers 4 and 5 both read, with the same tokens."""
    tokenizer.save_pretrained(directory)
    file = directory / "tokenizer_config.json"
    settings = read_json(file) | {"tokenizer_class": SAVED_CLASS}
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _backend(file: Path, content: str | None) -> Tokenizer:
    """Return the Rust tokenizer of a file, or of `content` in its place. Raises InputError where it cannot be read."""
    try:
        return Tokenizer.from_file(str(file)) if content is None else Tokenizer.from_str(content)
    except BaseException as error:
        # The library raises nothing narrower for what it cannot read, and panics where a part of it cannot.
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise InputError(f"--model {file.parent}: the tokenizer cannot be read: {_why(file, error)}") from None


def _why(file: Path, error: BaseException) -> str:
    """Return in words why a tokenizer.json cannot be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as no_json:
        content, error = None, no_json
    version = content.get("version") if isinstance(content, dict) else None
    if version not in (None, FORMAT):
        return f"{file.name} is of version {version}, expected {FORMAT}; install a newer tokenizers, or take an older file"
    return f"{file.name}: {first_line(error)}; copy its files again"
