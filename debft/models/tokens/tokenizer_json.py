"""A tokenizer.json is read as it stands, finds the user's tokens in any text, and tells what it puts around one."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from debft.data.tokens import framed
from debft.models.json_files import check_pointer, read_json
from debft.models.tokens.added import add_stated, stated_tokens
from debft.models.tokens.refusal import tokenizer_explained, try_out

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SAVED_CLASS = "PreTrainedTokenizerFast"  # transformers 5 writes TokenizersBackend, which transformers 4 does not know


def read_tokenizer_json(file: Path, special: Collection[str]) -> Tokenizer:
    """Read the Rust tokenizer in a tokenizer.json, and add the tokens that the files beside it name.

    Tokens that the file calls special are found in a text, as transformers does, unless they are in `special`: those of the
    model, such as `[SEP]`, which in a text are text. Raises InputError where it cannot be read.
    """
    check_pointer(file)
    with tokenizer_explained(file):
        backend = Tokenizer.from_file(str(file))
    if any(token.special and token.content not in special for token in backend.get_added_tokens_decoder().values()):
        content = read_json(file)
        for token in content["added_tokens"]:
            token["special"] = token["content"] in special
        with tokenizer_explained(file):
            backend = Tokenizer.from_str(json.dumps(content))
    backend.no_padding()
    backend.no_truncation()
    add_stated(backend, stated_tokens(file.parent), special)
    backend.encode_special_tokens = True
    with tokenizer_explained(file):
        try_out(backend)
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
