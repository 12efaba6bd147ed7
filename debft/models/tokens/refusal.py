"""What the tokenizers library does not take becomes an error that names the file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer

from debft.errors import InputError, first_line

FORMAT = "1.0"  # of tokenizer.json, the only one so far. Source: tokenizers, tokenizer/serialization.rs SERIALIZATION_VERSION


@contextmanager
def tokenizer_explained(file: Path) -> Iterator[None]:
    """Raise InputError about the file of a tokenizer in place of what the library raises within the block."""
    try:
        yield
    except BaseException as error:
        # The library raises nothing narrower for what it cannot read, and panics where a part of it cannot.
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise InputError(f"--model {file.parent}: the tokenizer cannot be read: {_why(file, error)}") from None


def try_out(backend: Tokenizer) -> None:
    """Take a text and a pair through every part of a tokenizer: the library looks at some of them only then."""
    backend.encode("a")
    backend.encode("a", "a")


def _why(file: Path, error: BaseException) -> str:
    """Return in words why a tokenizer cannot be read."""
    content = None
    if file.name == "tokenizer.json":
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as no_json:
            error = no_json
    version = content.get("version") if isinstance(content, dict) else None
    if version not in (None, FORMAT):
        return f"{file.name} is of version {version}, expected {FORMAT}; install a newer tokenizers, or take an older file"
    return f"{file.name}: {first_line(error)}; copy its files again"
