"""Files of a run are read: a passing error of a disk or network is tried once more, and is told from damage."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from debft.console import say
from debft.errors import InputError
from debft.runs.storage import disk_errors, refusal_in_words

Read = TypeVar("Read")


def read_twice(path: Path, read: Callable[[], Read]) -> Read:
    """Return `read()`, tried once more where the machine fails: that says nothing about what `path` holds.

    Raises DiskError where it fails again, InputError where the user may not read it, and FileNotFoundError or NotADirectoryError as
    `read` does.
    """
    try:
        return read()
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; make it a file that you may read") from None
    except Exception as error:
        # safetensors calls whatever keeps it from a file a missing one, without a number.
        is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError)) and error.errno is not None
        reason = refusal_in_words(error)
        if is_missing or reason is None:
            raise
        say(f"{path}: cannot be read: {reason}; trying once more")
    with disk_errors(path, "read"):
        return read()


def read_file(path: Path) -> bytes:
    """Return the content of a file, read as `read_twice` does."""
    return read_twice(path, path.read_bytes)


def sha256_of(path: Path) -> str:
    """Return the digest of a file, 64 hex digits, read as `read_twice` does."""
    return read_twice(path, lambda: _digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
